// TimerQueue: one CPU's deadlines in order, in an intrusive tree. The CPU's one-shot timer is set to the earliest.
//
// Locks        lock_ (rank scheduler). expired() is called without it.
// Costs        add, remove O(log n), no allocation; earliest O(1) amortised.
#pragma once

#include "abi/types.h"
#include "base/intrusive_tree.h"
#include "kernel/core/lock.h"

namespace keel {

class Cpu;

// Base of what can wait for a time: a thread's wait, a Timer object.
class TimerEntry {
 public:
  TimerEntry() = default;
  TimerEntry(const TimerEntry&) = delete;
  TimerEntry& operator=(const TimerEntry&) = delete;
  virtual ~TimerEntry() = default;

 protected:
  virtual void expired(Cpu& cpu) = 0;

 private:
  friend class TimerQueue;
  struct KeyOf {
    u64 operator()(const TimerEntry& e) const { return e.deadline_ns_; }
  };
  TreeHook hook_;
  u64 deadline_ns_ = 0;
  Cpu* queued_on_ = nullptr;  // null: in no queue
};

class TimerQueue {
 public:
  // `deadline` is finite. The entry is in no queue.
  void add(Cpu& cpu, TimerEntry& entry, Deadline deadline);
  // Takes the entry out of whichever queue it is in, if any.
  static void remove(Cpu& cpu, TimerEntry& entry);
  // Calls expired() on entries whose time has come, `most` at the most; true when none is left.
  bool run(Cpu& cpu, u64 now_ns, u32 most);
  // The earliest deadline, or kForever.
  Deadline earliest(Cpu& cpu);

 private:
  SpinLock lock_{LockRank::scheduler, "timers"};
  IntrusiveTree<TimerEntry, &TimerEntry::hook_, TimerEntry::KeyOf> entries_ GUARDED_BY(lock_);
};

}  // namespace keel
