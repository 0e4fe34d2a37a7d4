// One thread more than there are CPUs, all equal: nobody has a CPU for itself for long, and each gets the same.
#include "tests/simulator/scenarios.h"

namespace keel::simulator {
namespace {

constexpr u64 kStepNs = 1'000'000;
constexpr u64 kTours = 8;
constexpr u64 kTourNs = 100'000'000;  // how long one thread is in excess on a CPU, at the most about

}  // namespace

std::function<void()> balance(World& w) {
  Process& p = w.process();
  const u32 count = w.cpus() + 1;
  // So many tours that it makes little difference where the last one ends.
  const u64 end = w.now() + kTours * count * kTourNs;
  auto used = std::make_shared<std::vector<u64>>();
  for (u32 i = 0; i < count; ++i) {
    w.thread(p, kNormalLevel, [&w, end, used](Thread& self, const Answer&) -> Act {
      if (w.now() < end) return compute(kStepNs);
      used->push_back(self.own_context.consumed + self.uncharged(w.now_on()));
      return leave();
    });
  }
  return [&w, used, count] {
    const u64 fair = kTours * kTourNs * w.cpus();
    // On two CPUs who never had one for itself would get 3/4 of its share. On more chance has a part: who comes last at
    // each of them may be given on before it had a turn: in one of 56,000 worlds a thread got 60 %.
    const u64 margin = w.cpus() == 2 ? fair / 5 : fair / 2;
    for (u64 time : *used) {
      if (time >= fair - margin && time <= fair + margin) continue;
      w.say("%llu us where %llu us are fair", time / 1000, fair / 1000);
      w.fail("equal threads do not get equal time");
    }
    if (used->size() != count) w.fail("a thread never came to its end");
  };
}

}  // namespace keel::simulator
