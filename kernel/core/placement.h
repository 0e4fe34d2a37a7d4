// Placement: which CPU a thread runs on.
//
// A thread starts on the least loaded CPU that its affinity allows; the one where it was made wins a tie. From then on
// it stays, but for three reasons: its affinity changes; it is an idle server that a caller on another CPU pulls
// (Port::follow_caller); or a CPU that has become idle takes it from one that has threads to spare. A busy CPU with
// threads waiting wakes an idle one when a quantum passes, so work that piled up spreads within milliseconds, while the
// usual to and fro of calls and signals stays where it is. Idle CPUs get no tick and sleep until somebody wants them:
// loads are compared, and the CPU with the lowest number wins, so that on a quiet machine the same few are awake and
// the others stay parked.
//
// Not moved: threads that serve a caller or wait for a callee (their link is local), those pinned by affinity, those in
// the middle of a call elsewhere.
//
// Locks        none: a thread is moved by its own CPU. A thief sends its own request, one at a time.
// Costs        choosing looks at each CPU's load once; so does becoming idle.
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

// A CPU's request for a thread, which travels to the CPU that has most and back.
class Thief final : public Work {
 public:
  explicit Thief(Cpu& owner) : owner_(owner) {}
  // The CPU has nothing to do: asks one that has, unless a request is out already.
  void look_for_work();
  bool step(Cpu&) override { return true; }
  void arrive(Cpu& cpu) override;

 private:
  Cpu& owner_;
  bool out_ = false;
};

// At the end of a quantum on a CPU where threads wait: an idle CPU is woken to take one.
void share_load(Cpu& cpu);

}  // namespace keel
