// Scheduling on the machine itself, under icount (tests/qemu/test_system.py): a real-time thread with half of the CPU
// and three groups of weight 1, 2 and 5 that take all the rest, for some seconds of guest time.
#include "tests/system/report.h"
#include "user/runtime/clock.h"
#include "user/runtime/cpio.h"
#include "user/runtime/group.h"
#include "user/runtime/memory.h"
#include "user/runtime/spawn.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"
#include "user/runtime/thread_block.h"

using namespace keel;
using report::line;
using report::result;

namespace {

constexpr u64 kPeriodNs = 100'000;
constexpr u64 kWorkNs = 30'000;
constexpr u64 kPeriods = 40'000;
constexpr u64 kWeights[] = {100, 200, 500};
constexpr u64 kWeightSum = 800;

struct Hog {
  CapIndex group;
  Child child;
  u64 before_ns = 0;
};

Result<Hog> start_hog(const CpioEntry& program, u64 weight) {
  Hog hog{.group = TRY(create_group(self().group, "hog")), .child = {}};
  TRY(sys::group_set_cpu(hog.group, 0, 0, weight));
  const std::string_view arguments[] = {"crash", "spin"};
  hog.child = TRY(
      spawn_process({.name = "hog", .image = program.data, .arguments = arguments, .grants = {}, .group = hog.group}));
  return hog;
}

u64 cpu_ns(CapIndex group) { return sys::group_usage(group)->cpu_ns; }

Result<void> run() {
  const Mapping initrd = TRY(Mapping::map(TRY(require_capability("initrd")), Access::read));
  const CpioEntry program = TRY(TRY(CpioArchive::open(initrd.bytes())).find("/bin/crash"));
  Hog hogs[3];
  for (u32 i = 0; i < 3; ++i) hogs[i] = TRY(start_hog(program, kWeights[i]));

  const CapIndex context = TRY(sys::context_create(self().group));
  const CapIndex overrun = TRY(sys::notification_create(self().group));
  TRY(sys::context_notify(context, overrun, 1));
  TRY(sys::context_configure(context, kLevels - 4, kPeriodNs / 2, kPeriodNs));
  TRY(sys::thread_set_context(self().thread, context));
  const CapIndex tick = TRY(sys::notification_create(self().group));
  const CapIndex timer = TRY(sys::timer_create(self().group, tick, 1));
  result(sys::context_configure(context, kLevels - 4, kPeriodNs, kPeriodNs).error() == Status::quota_exceeded,
         "a whole CPU is not reserved");

  const u64 idle_before = TRY(sys::cpu_info(find_capability("control"), 0)).idle_ns;
  const u64 start = now_ns();
  for (Hog& hog : hogs) hog.before_ns = cpu_ns(hog.group);
  const u64 first = start + 10 * kPeriodNs;
  TRY(sys::timer_set(timer, Deadline(first), kPeriodNs));
  u64 missed = 0, latest_ns = 0;
  for (u64 n = 0; n < kPeriods; ++n) {
    const u64 release = first + n * kPeriodNs;
    TRY(sys::notification_wait(tick, kForever));
    const u64 begun = now_ns();
    if (begun - release > latest_ns) latest_ns = begun - release;
    while (now_ns() - begun < kWorkNs) {
    }
    if (now_ns() > release + kPeriodNs) ++missed;
  }
  TRY(sys::timer_set(timer, kForever, 0));
  const u64 elapsed = now_ns() - start;
  line("# {} periods, {} missed, released at most {} ns late", kPeriods, missed, latest_ns);
  result(missed == 0, "no deadline is missed");
  result(sys::notification_wait(overrun, kPoll).error() == Status::timed_out, "the budget was enough");

  u64 used[3], all = 0;
  for (u32 i = 0; i < 3; ++i) all += used[i] = cpu_ns(hogs[i].group) - hogs[i].before_ns;
  bool fair = true;
  for (u32 i = 0; i < 3; ++i) {
    const u64 due = all * kWeights[i] / kWeightSum;
    line("# weight {}: {} us, due {} us", kWeights[i], used[i] / 1000, due / 1000);
    if (used[i] > due + due / 50 || used[i] + due / 50 < due) fair = false;
  }
  result(fair, "groups share by weight within 2 %");
  const u64 own = TRY(sys::context_info(context)).consumed_ns;
  const u64 idle = TRY(sys::cpu_info(find_capability("control"), 0)).idle_ns - idle_before;
  // What the real-time thread used before the loop counts as slack.
  result(all + own + idle >= elapsed - elapsed / 1000 && all + idle <= elapsed, "all time is charged to somebody");

  TRY(sys::thread_set_context(self().thread, kNoCapability));
  for (Hog& hog : hogs) {
    TRY(sys::group_kill(hog.group, 1));
    result(sys::group_processes(hog.group, 0)->state_threads == 3, "a killed group's processes are dead");
    hog.child.process = Cap();  // the process object goes with it, in steps
    u64 left = 1;
    for (u32 n = 0; n < 100'000 && left != 0; ++n) {  // a real-time thread that polls gets to see it
      TRY(sys::yield());
      left = sys::group_info(hog.group)->memory_pages + sys::group_info(hog.group)->objects;
    }
    result(left == 0, "a killed group holds nothing");
  }
  return {};
}

}  // namespace

int main() {
  const Result<void> outcome = run();
  if (!outcome.has_value()) line("# failed: {}", outcome.error());
  result(outcome.has_value(), "every call succeeds");
  line("sched: {} of {} failed", report::g_failures, report::g_results);
  report::end_of_results();
}
