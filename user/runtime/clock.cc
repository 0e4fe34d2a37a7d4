#include "user/runtime/clock.h"

#include "base/atomic.h"
#include "user/runtime/capabilities.h"
#include "user/runtime/machine.h"
#include "user/runtime/stubs.h"

namespace keel {
namespace {

constinit const volatile TimePage* g_time = nullptr;

struct Scale {
  u32 shift;
  u64 multiplier, base, ns_base, wall;
};

// Reads the page until no change fell in between.
Scale read_scale() {
  for (;;) {
    const u32 before = g_time->sequence;
    std::atomic_thread_fence(kAcquire);
    const Scale scale{g_time->shift, g_time->multiplier, g_time->tsc_base, g_time->ns_base, g_time->wall_base_s};
    std::atomic_thread_fence(kAcquire);
    if ((before & 1) == 0 && g_time->sequence == before) return scale;
  }
}

}  // namespace

void map_time_page(CapIndex time) {
  if (time == kNoCapability) return;
  const Result<u64> at = sys::space_map(self().space, time.value, 0, 1, sys::space_map_protection::read, 0);
  if (at.has_value()) g_time = reinterpret_cast<const volatile TimePage*>(*at);
}

u64 now_ns() { return g_time == nullptr ? 0 : ns_of_counter(read_counter()); }

u64 ns_of_counter(u64 counter) {
  if (g_time == nullptr) return 0;
  const Scale scale = read_scale();
  const unsigned __int128 ticks = counter - scale.base;
  return scale.ns_base + static_cast<u64>(ticks * scale.multiplier >> scale.shift);
}

u64 wall_clock_s() {
  if (g_time == nullptr) return 0;
  const u64 base = read_scale().wall;
  return base == 0 ? 0 : base + now_ns() / kSecond;
}

void sleep_until(Deadline deadline) {
  static constinit Atomic<u32> word{0};  // nobody wakes it
  const u64 address = reinterpret_cast<u64>(&word);
  while (!has_passed(deadline)) {
    static_cast<void>(word.load(kRelaxed));  // makes the page present
    const Result<void> waited = sys::word_wait(address, 0, deadline);
    if (!waited.has_value() && waited.error() != Status::touch_first) return;
  }
}

}  // namespace keel
