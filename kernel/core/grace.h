// Grace: when may memory be reused that others may still be reading without a lock? After each CPU that was running has
// been quiescent once: in user mode, idle, or at the end of a kernel entry. Objects, nodes, slots and tables go this
// way.
//
// A CPU gathers what it has to retire; one period covers all that was gathered before it began. To ask, it sets its bit
// in the `askers` of every CPU that is not idle and interrupts it; each answers at the end of that entry, and the last
// to answer sends the asker a piece of mail. Nobody waits or spins. An idle CPU is not asked: it announces itself in
// Machine::busy, with a full fence, before it reads anything.
//
// Invariants   I1 an item is handed out only when every CPU that was busy at any time after it was retired has left the
//                 kernel since, or has been idle.
// Locks        none: each CPU's own, but for askers (any CPU sets its bit) and pending_ (each that answers counts
// down). Costs        alone: nothing but the push. Else one interrupt per busy CPU and period. See
// docs/adr/0007-multiprocessor.md; McKenney, Exploiting Deferred Destruction, 2004
#pragma once

#include "kernel/core/cpu_set.h"
#include "kernel/object/object.h"

namespace keel {

class Grace {
 public:
  // Pushes the item to this CPU's work queue when I1 holds; at once when no other CPU is busy.
  void retire(Cpu& cpu, Work& item);
  // Nobody else is reading anything now, and nothing waits that was retired before: what is unlinked can be freed at
  // once.
  bool is_over(const Cpu& cpu) const;  // machine.h
  // The same, when it was unlinked by a sequentially consistent operation.
  bool is_over_after(const Cpu& cpu) const;
  // At the end of a kernel entry, when nothing borrowed is held any more: answers others, begins a period if one is
  // wanted and none is under way.
  void quiesce(Cpu& cpu);
  bool wants_quiesce() const { return !askers.empty() || (gathered_ != nullptr && !under_way_); }

  CpuSet askers;  // who waits for this CPU

 private:
  // Comes by mail when all have answered.
  class Over final : public Work {
   public:
    bool step(Cpu&) override { return true; }
    void arrive(Cpu& cpu) override;
  };

  void begin(Cpu& cpu);
  void hand_out(Cpu& cpu);

  Work* gathered_ = nullptr;  // for the next period
  Work* waiting_ = nullptr;   // for the one under way
  bool under_way_ = false;
  Atomic<u32> pending_{0};  // CPUs that have not answered yet
  Over over_;
};

}  // namespace keel
