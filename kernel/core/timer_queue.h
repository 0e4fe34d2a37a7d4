// TimerQueue: one CPU's deadlines in order, in an intrusive tree. The CPU's one-shot timer is set to the earliest.
//
// Locks        none: a CPU's own. What changes its home takes its entry along.
// Costs        add, remove O(log n), no allocation; earliest O(1) amortised.
#pragma once

#include "abi/types.h"
#include "base/intrusive_tree.h"

namespace keel {

class Cpu;
class TimerQueue;

// Base of what can wait for a time: a thread's wait, a Timer object.
class TimerEntry {
 public:
  TimerEntry() = default;
  TimerEntry(const TimerEntry&) = delete;
  TimerEntry& operator=(const TimerEntry&) = delete;
  virtual ~TimerEntry() = default;
  bool is_queued() const { return queue_ != nullptr; }
  // What it was last queued for.
  Deadline deadline() const { return Deadline(deadline_ns_); }

 protected:
  virtual void expired(Cpu& cpu) = 0;

 private:
  friend class TimerQueue;
  struct KeyOf {
    u64 operator()(const TimerEntry& e) const { return e.deadline_ns_; }
  };
  TreeHook hook_;
  u64 deadline_ns_ = 0;
  TimerQueue* queue_ = nullptr;
};

class TimerQueue {
 public:
  // `deadline` is finite. The entry is in no queue.
  void add(Cpu& cpu, TimerEntry& entry, Deadline deadline);
  // Takes the entry out of this CPU's queue, if it is in it; it is in no other, which the lock checker checks, too.
  static void remove(Cpu& cpu, TimerEntry& entry);
  // Calls expired() on entries whose time has come, `most` at the most; true when none is left.
  bool run(Cpu& cpu, u64 now_ns, u32 most);
  // The earliest deadline, or kForever.
  Deadline earliest() const;

 private:
  IntrusiveTree<TimerEntry, &TimerEntry::hook_, TimerEntry::KeyOf> entries_;
};

}  // namespace keel
