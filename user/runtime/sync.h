// Locks between threads of a process (and of processes that share memory): on word_wait and word_wake.
#pragma once

#include "abi/types.h"
#include "base/atomic.h"
#include "base/thread_annotations.h"

namespace keel {

// Not recursive. Unfair: a running thread may overtake one that was woken.
// See          U. Drepper, "Futexes Are Tricky": the mutex of three states
class CAPABILITY("mutex") Mutex {
 public:
  constexpr Mutex() = default;
  void lock() ACQUIRE() {
    u32 expected = kFree;
    if (!state_.compare_exchange(&expected, kHeld, kAcquire)) lock_slow(expected);
  }
  void unlock() RELEASE() {
    if (state_.exchange(kFree, kRelease) == kContended) wake_one();  // pairs with the exchange in lock_slow()
  }

 private:
  static constexpr u32 kFree = 0, kHeld = 1, kContended = 2;
  void lock_slow(u32 seen);
  void wake_one();
  Atomic<u32> state_{kFree};
};

class SCOPED_CAPABILITY MutexGuard {
 public:
  explicit MutexGuard(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexGuard() RELEASE() { mutex_.unlock(); }
  MutexGuard(const MutexGuard&) = delete;
  MutexGuard& operator=(const MutexGuard&) = delete;

 private:
  Mutex& mutex_;
};

// Wake-ups may come without need: wait in a loop that checks the condition.
class ConditionVariable {
 public:
  constexpr ConditionVariable() = default;
  // False: the deadline passed.
  bool wait(Mutex& mutex, Deadline deadline = kForever) REQUIRES(mutex);
  void notify_one();
  void notify_all();

 private:
  Atomic<u32> sequence_{0};
};

// Waits while the word is `expected`. False: the deadline passed.
bool wait_while(Atomic<u32>& word, u32 expected, Deadline deadline = kForever);
void wake(Atomic<u32>& word, u32 count);

}  // namespace keel
