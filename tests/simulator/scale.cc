// An operation that does not care how many CPUs there are touches as many Atomics on a machine with 1,024 as on one
// with 2: loads and stores of shared words, locks, mailboxes, interrupts, and each turn of a loop over CPUs, all are
// accesses. They are counted exactly (Simulation::points), as the difference between a run with twice the operations
// and one with them once, so that start and end cancel out.
#include "tests/simulator/scale.h"

#include <algorithm>
#include <cstdio>

#include "tests/simulator/world.h"

namespace keel::simulator {
namespace {

constexpr u32 kOnce = 32;            // operations of a pair of threads
constexpr double kTolerance = 1.25;  // when CPUs meet, the order of things varies

struct Operation {
  const char* name;
  // Makes threads on the CPUs `at` and `other` that carry the operation out `count` times.
  void (*set_up)(World& w, u32 at, u32 other, u32 count);
  bool has_partner;
};

// Who is done waits: what the end of a thread costs is not the question here.
Act rest(CapIndex bell) { return ask(Call::notification_wait, bell, {~u64{0}}); }
CapIndex make_bell(World& w, Process& p) {
  auto bell = w.make<Notification>();
  return w.give(p, *bell);
}

void calls(World& w, u32 at, u32 other, u32 count) {
  Process& p = w.process();
  auto port = w.make_port(2);
  const CapIndex cap = w.give(p, *port);
  const Program server = [cap](Thread&, const Answer& last) -> Act {
    if (last.first) return ask(Call::receive, cap);
    return ask(Call::reply_receive, cap, {last.word[0] + 1}, Descriptor::make(1));
  };
  w.thread(p, kNormalLevel, server, &w.cpu(other));
  const Program client = [cap, end = make_bell(w, p), left = count](Thread&, const Answer&) mutable -> Act {
    return left-- == 0 ? rest(end) : ask(Call::call, cap, {left}, Descriptor::make(1));
  };
  w.thread(p, kNormalLevel, client, &w.cpu(at));
}

void signals(World& w, u32 at, u32 other, u32 count) {
  Process& p = w.process();
  const CapIndex bells[] = {make_bell(w, p), make_bell(w, p)};
  for (u32 i = 0; i < 2; ++i) {
    const Program program = [mine = bells[i], yours = bells[1 - i], i, count, end = make_bell(w, p), step = 0u](
                                Thread&, const Answer&) mutable -> Act {
      if (step == 2 * count) return rest(end);
      return step++ % 2 == i ? ask(Call::notification_signal, yours, {1})
                             : ask(Call::notification_wait, mine, {~u64{0}});
    };
    w.thread(p, kNormalLevel, program, &w.cpu(i == 0 ? at : other));
  }
}

void yields(World& w, u32 at, u32, u32 count) {
  Process& p = w.process();
  for (u32 i = 0; i < 2; ++i) {
    const Program program = [end = make_bell(w, p), left = count](Thread&, const Answer&) mutable -> Act {
      return left-- == 0 ? rest(end) : ask(Call::yield);
    };
    w.thread(p, kNormalLevel, program, &w.cpu(at));
  }
}

void derives(World& w, u32 at, u32, u32 count) {
  Process& p = w.process();
  const CapIndex cap = make_bell(w, p);
  const Program program = [cap, end = make_bell(w, p), step = 0u, count](Thread&, const Answer& last) mutable -> Act {
    if (step == 2 * count) return rest(end);
    return step++ % 2 == 0 ? ask(Call::cap_derive, cap, {0xff, 0}) : ask(Call::cap_delete, CapIndex(last.word[0]));
  };
  w.thread(p, kNormalLevel, program, &w.cpu(at));
}

constexpr Operation kOperations[] = {{"call and reply", &calls, true},
                                     {"signal and wait, twice", &signals, true},
                                     {"yield, twice", &yields, false},
                                     {"derive and delete", &derives, false}};

enum class Load { alone, all_busy };

// Affinity tells no more than 64 CPUs apart.
u32 pairs_on(u32 cpus) { return std::min(cpus, 64u); }

u64 points_of(const Operation& operation, u32 cpus, Load load, bool apart, u32 count) {
  World world(cpus, 1, World::Mode::steady);
  world.run();  // all go to sleep
  if (load == Load::alone) {
    // Not a CPU that affinity takes for the same.
    operation.set_up(world, 0, apart ? cpus / 2 + (cpus > 64 ? 1 : 0) : 0, count);
  } else {
    const u32 pairs = pairs_on(cpus);
    for (u32 at = 0; at < pairs; ++at) operation.set_up(world, at, apart ? (at + pairs / 2) % pairs : at, count);
  }
  world.run();
  const u64 points = world.kernel_points();
  world.finish();
  return points;
}

}  // namespace

bool measure_scale() {
  bool flat = true;
  std::printf("%-24s %-10s %-10s", "Atomic accesses", "others", "partner");
  for (u32 cpus = 1; cpus <= kMaxCpus; cpus *= 4) std::printf("%7u", cpus);
  std::printf("\n");
  for (const Operation& operation : kOperations) {
    for (const Load load : {Load::alone, Load::all_busy}) {
      for (const bool apart : {false, true}) {
        if (apart && !operation.has_partner) continue;
        std::printf("%-24s %-10s %-10s", operation.name, load == Load::alone ? "idle" : "the same",
                    apart ? "elsewhere" : "here");
        double first = 0, last = 0;
        for (u32 cpus = 1; cpus <= kMaxCpus; cpus *= 4) {
          if (apart && cpus == 1) {
            std::printf("%7s", "");
            continue;
          }
          const u32 pairs = load == Load::alone ? 1 : pairs_on(cpus);
          const double each = double(points_of(operation, cpus, load, apart, 2 * kOnce) -
                                     points_of(operation, cpus, load, apart, kOnce)) /
                              (pairs * kOnce);
          std::printf("%7.1f", each);
          std::fflush(stdout);
          if (first == 0) first = each;
          last = each;
        }
        // What grows with the CPUs is largest with the most of them; a thread that happens to move costs once,
        // anywhere.
        if (last > first * kTolerance + 1) flat = false;
        std::printf("\n");
      }
    }
  }
  std::printf(flat ? "ok: no count grows\n" : "not ok: a count grows\n");
  return flat;
}

}  // namespace keel::simulator
