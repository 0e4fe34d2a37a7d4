// An interrupt line that storms, under icount (tests/qemu/test_system.py): a timer of the HPET goes off every
// microsecond, a thread waits for it at a high level, and the main thread must get its work done all the same.
#include "tests/system/report.h"
#include "user/runtime/clock.h"
#include "user/runtime/memory.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"
#include "user/runtime/thread.h"

using namespace keel;
using report::line;
using report::result;

namespace {

constexpr u64 kHpet = 0xfed00000;
constexpr u64 kLine = 20;
constexpr u64 kMeasureNs = 400 * kMillisecond;
// Registers of the HPET, by number of 8 bytes (IA-PC HPET Specification 1.0a, 2.3).
constexpr u32 kCapabilities = 0, kConfiguration = 2, kTimer0 = 32, kComparator0 = 33;
constexpr u64 kEnabled = 1 << 2, kPeriodic = 1 << 3, kSetValue = 1 << 6;
constexpr u32 kRouteShift = 9;

u64 g_heard = 0;
void listen(void* notification) {
  for (;;) {
    if (!sys::notification_wait(CapIndex(*static_cast<u64*>(notification)), kForever).has_value()) return;
    ++g_heard;
  }
}

// Turns of a loop in which nothing else happens.
u64 work() {
  u64 turns = 0;
  for (const u64 end = now_ns() + kMeasureNs; now_ns() < end; ++turns) {
    for (volatile u32 i = 0; i < 100; i = i + 1) {
    }
  }
  return turns;
}

Result<void> run() {
  const Mapping window =
      TRY(Mapping::map(TRY(require_capability("physical")), Access::read_write, kHpet / kPageSize, 1));
  // SAFETY: the registers of a device; nobody else uses its timers.
  auto* hpet = reinterpret_cast<volatile u64*>(window.data());
  const u64 tick_fs = hpet[kCapabilities] >> 32;
  u64 bell = TRY(sys::notification_create(self().group)).value;
  const CapIndex interrupt = TRY(sys::interrupt_create(find_capability("irq"), self().group, kLine, 0));
  TRY(sys::interrupt_bind(interrupt, CapIndex(bell), 1));
  const Thread listener = TRY(Thread::create(&listen, &bell));
  TRY(sys::thread_set_level(self().thread, kNormalLevel));  // below it

  const u64 quiet = work();
  result(g_heard == 0, "nothing comes before the timer runs");
  hpet[kTimer0] = kLine << kRouteShift | kEnabled | kPeriodic | kSetValue;
  hpet[kComparator0] = hpet[30] + 1'000'000'000 / tick_fs;
  hpet[kComparator0] = 1'000'000'000 / tick_fs;
  hpet[kConfiguration] = hpet[kConfiguration] | 1;
  const u64 stormy = work();
  const auto listed = TRY(sys::interrupt_list(find_capability("control"), 0));
  line("# {} turns, {} in the storm; {} interrupts, heard {} times, held back {} times", quiet, stormy, listed.count,
       g_heard, listed.storms);
  result(listed.storms > 1, "the storm is noticed, and again after a pause");
  result(g_heard > 1, "its listener hears of it");
  result(stormy > quiet * 3 / 4, "it takes less than a quarter of the time");

  hpet[kTimer0] = 0;
  TRY(sys::notification_wait(CapIndex(TRY(sys::notification_create(self().group))), after(200 * kMillisecond))
                  .error() == Status::timed_out
          ? Result<void>()
          : Status::bad_state);
  const u64 before = g_heard;
  result((TRY(sys::interrupt_list(find_capability("control"), 0)).flags & 2) == 0, "when it is over the line is free");
  hpet[kTimer0] = kLine << kRouteShift | kEnabled;
  hpet[kComparator0] = hpet[30] + 1'000'000'000'000 / tick_fs;
  static_cast<void>(work());
  result(g_heard == before + 1, "and an interrupt comes through");
  return {};
}

}  // namespace

int main() {
  const Result<void> outcome = run();
  if (!outcome.has_value()) line("# failed: {}", outcome.error());
  result(outcome.has_value(), "every call succeeds");
  line("storm: {} of {} failed", report::g_failures, report::g_results);
  report::end_of_results();
}
