// Placement: which CPU a thread runs on.
//
// A thread starts on the least loaded CPU that its affinity allows. Of CPUs with the same load the one where it was
// made comes first, then those that are awake or have just gone to sleep (who has been idle for long may be in a deep
// state, and stays there), then the nearer ones (NUMA), then the lower number. From then on the thread stays, but for
// four reasons: its affinity changes; it is an idle server that a caller on another CPU pulls (Port::follow_caller); a
// CPU that has become idle takes it from one that has threads to spare; or CPUs that are all busy even out: at the end
// of a quantum, every 95 ms at the most, a CPU with more ready threads than another offers it one, which the other
// takes if the thread would have its turn there. So three threads on two CPUs take turns at having one for themselves.
//
// A busy CPU with threads waiting offers one to an idle CPU when a quantum passes, so work that piled up spreads within
// milliseconds, while the usual to and fro of calls and signals stays where it is. Idle CPUs get no tick and sleep
// until somebody wants them.
//
// Not moved: threads that serve a caller or wait for a callee (their link is local), those pinned by affinity or bound
// to a reservation, those in the middle of a call elsewhere.
//
// Locks        none: a thread is moved by its own CPU. A thief sends its own request, one at a time.
// Costs        choosing looks at each CPU's load once, and so does the end of a contended quantum; becoming
//              idle looks at kNeighbours.
#pragma once

#include "kernel/object/object.h"

namespace keel {

class Cpu;
class Thread;

// Where a thread that is about to start should run.
Cpu& choose_cpu(Cpu& here, const Thread& thread);
// The CPUs that the thread may run on: bit n is CPU n modulo 64. It moves now, or as soon as it can be moved.
// Errors: invalid_argument (no CPU that runs is in the mask).
Result<void> set_affinity(Cpu& here, Thread& thread, u64 mask);
// Changes the CPU of a ready or running thread of this CPU if its affinity demands it and nothing is in the way.
void obey_affinity(Cpu& here, Thread& thread);

// A CPU's request for a thread, which travels to the CPU that has most and back; or its offer of one, to which the
// other CPU answers with a request.
class Thief final : public Work {
 public:
  explicit Thief(Cpu& owner) : owner_(owner) {}
  static constexpr u32 kNeighbours = 8;
  // The CPU has nothing to do: asks the one of the next few that has most to spare. The others come with offers.
  void look_for_work();
  // At the end of a quantum on a CPU where threads wait: the CPU that has least to do is offered one.
  void share(u64 now_ns);
  bool step(Cpu&) override { return true; }
  void arrive(Cpu& cpu) override;

 private:
  void ask(Cpu& victim);

  Cpu& owner_;
  bool out_ = false;
  bool offers_ = false;
  bool refused_ = false;
  u32 has_ = 0;       // ready threads, when it asked
  u32 level_ = 0;     // at which the CPU ran then
  u64 taken_ = 0;     // the thread that it brings home
  u64 newcomer_ = 0;  // the one that it brought last
  u64 next_offer_ns_ = 0;
};

}  // namespace keel
