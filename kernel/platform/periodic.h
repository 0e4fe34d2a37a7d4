// Periodic: something that one CPU at a time does again and again while a setting is on.
//
// Invariants   I1 while armed_ it is in one CPU's timer queue, or that CPU is running it, or it is mail on the way.
//              I2 once the setting is on, it is armed as soon as whoever turned it on, or its last run, is over.
// Locks        none: armed_ decides who adds it to a queue.
// Costs        off: nothing.
#pragma once

#include "kernel/core/cpu.h"
#include "kernel/object/object.h"

namespace keel {

class Periodic : public TimerEntry, public Work {
 public:
  static constexpr u64 kMaxWaitNs = 1'000'000'000;
  // Begins if it is wanted and has not begun.
  void arm(Cpu& cpu);

 protected:
  virtual bool wanted(Cpu& cpu) const = 0;
  // Does a step; answers in how many nanoseconds to do the next: kMaxWaitNs at the most, after which settings may
  // differ.
  virtual u64 run(Cpu& cpu) = 0;
  // The next one is done by this CPU. Within run().
  void continue_at(Cpu& next) { next_ = &next; }

 private:
  void expired(Cpu& cpu) override;
  bool step(Cpu&) override { return true; }
  void arrive(Cpu& cpu) override { cpu.timers.add(cpu, *this, Deadline(cpu.now_ns() + wait_ns_)); }

  Atomic<bool> armed_{false};
  u64 wait_ns_ = 0;
  Cpu* next_ = nullptr;
};

}  // namespace keel
