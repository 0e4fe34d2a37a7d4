// Scheduler: one CPU's ready threads: a queue per level and a bitmap of the levels that have one. Picking is O(1).
//
// Levels       five classes with priorities inside (abi/types.h): idle, low, normal, high, real-time. A thread is
// queued
//              at the level of the scheduling context that it runs on, which may be a caller's (donation).
// Invariants   I1 a thread is in a queue exactly while its state is ready. I2 bit n of ready_ is set exactly while
//              queue n is not empty. I3 the running thread is in no queue.
// Locks        none: only the CPU itself touches its queues. One CPU runs today; with more, others will have to ask it.
#pragma once

#include "abi/types.h"
#include "base/atomic.h"
#include "base/types.h"

namespace keel {

class Cpu;
class Thread;

// A thread's place in a ready queue.
struct ReadyLink {
  Thread* next = nullptr;
  Thread* previous = nullptr;
  u32 level = 0;  // the queue that it is in
};

// A right to CPU time. Each thread has one of its own, and runs on its caller's while it serves a call.
struct SchedulingContext {
  u32 level = kNormalLevel;
  Thread* owner = nullptr;
  u64 consumed = 0;  // time stamp counter units, of all threads that ran on it
  u64 trace_id = 0;  // causality: travels with the context along calls
  u64 span_id = 0;
};

class Scheduler {
 public:
  static constexpr u64 kQuantumNs = 10'000'000;

  void enqueue_back(Thread& thread);
  void enqueue_front(Thread& thread);
  void remove(Thread& thread);
  // Takes the first thread of the highest level; null when nothing is ready.
  Thread* pick();
  // The highest level that has a ready thread, or -1.
  i32 top_level() const { return ready_ == 0 ? -1 : 63 - __builtin_clzll(ready_); }
  // How many threads wait here; other CPUs may ask, and get a recent answer.
  u32 ready_count() const { return count_.load(kRelaxed); }
  // A thread that `wanted` says yes to, of those at the ends of the queues; null if there is none.
  template <class F>
  Thread* find(F wanted) const {
    for (u64 levels = ready_; levels != 0; levels &= levels - 1) {
      Thread* last = tails_[__builtin_ctzll(levels)];
      if (wanted(*last)) return last;
    }
    return nullptr;
  }
  // For tests: how many threads are queued; -1 if I1 or I2 does not hold.
  i64 check() const;

 private:
  friend class FastScheduling;  // fast_scheduling.h
  Thread* heads_[kLevels] = {};
  Thread* tails_[kLevels] = {};
  u64 ready_ = 0;
  Atomic<u32> count_{0};
  void count(i32 change) { count_.store(count_.load(kRelaxed) + u32(change), kRelaxed); }
};

}  // namespace keel
