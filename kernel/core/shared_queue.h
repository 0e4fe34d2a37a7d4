// SharedQueue: threads of any CPU that wait for one thing: a word, the end of a process, a record of the log, a member
// of a wait set.
//
// A waker takes threads out under the lock, which claims them: from then on the waker, and nobody else, ends their
// wait, by mail to their custodian where that is another CPU. Whatever else would end it (a deadline, a cancellation)
// finds the thread claimed and does nothing. A thread that is killed meanwhile is kept by the claim's reference.
//
// Locks        lock_ (rank waitable). claim() under it, wake() without.
// Lifetime     outlives its waiters: they are claimed before its owner goes, and a custodian that looks at a thread
// that is
//              not claimed yet borrows the queue until it leaves the kernel.
// Costs        O(1) a thread; claim looks at every waiter until it has enough.
#pragma once

#include "kernel/core/thread.h"

namespace keel {

class SharedQueue {
 public:
  explicit SharedQueue(const char* name) : lock_(LockRank::waitable, name) {}

  SpinLock& lock() RETURNS_LOCK(lock_) { return lock_; }
  // A thread that has just begun to wait, on its own CPU.
  void add(Thread& thread) REQUIRES(lock_) {
    thread.wait.shared = this;
    thread.wait.claimed.store(false, kRelaxed);
    waiters_.push_back(thread);
  }
  // Takes out up to `most` threads for which wanted(thread) holds.
  template <class Wanted>
  u64 claim(u64 most, Wanted wanted, WaitQueue& claimed) REQUIRES(lock_) {
    u64 count = 0;
    Thread* next = nullptr;
    for (Thread* t = waiters_.front(); t != nullptr && count < most; t = next) {
      next = waiters_.next(*t);
      if (!wanted(*t)) continue;
      waiters_.remove(*t);
      t->add_ref();
      t->wait.claimed.store(true, kRelease);  // pairs with leave(): whoever sees it lets the queue alone
      claimed.push_back(*t);
      ++count;
    }
    return count;
  }
  // Ends the waits of claimed threads. Status::restart: they run their call again.
  static void wake(Cpu& cpu, WaitQueue& claimed, Status status, u64 word0) {
    while (Thread* t = claimed.pop_front()) t->wake_claimed(cpu, status, word0);
  }
  // Both for up to `most` of those that are wanted.
  template <class Wanted>
  void wake_where(Cpu& cpu, Wanted wanted, Status status, u64 word0 = 0, u64 most = ~u64{0}) EXCLUDES(lock_) {
    WaitQueue claimed;
    {
      LockGuard guard(cpu, lock_);
      (void)claim(most, wanted, claimed);
    }
    wake(cpu, claimed, status, word0);
  }
  void wake_all(Cpu& cpu, Status status, u64 word0 = 0) EXCLUDES(lock_) {
    wake_where(cpu, [](const Thread&) { return true; }, status, word0);
  }
  // Its custodian takes it out for another reason. False: somebody has claimed it.
  static bool leave(Cpu& cpu, Thread& thread) {
    if (thread.wait.claimed.load(kAcquire)) return false;
    SharedQueue& queue = *thread.wait.shared;
    LockGuard guard(cpu, queue.lock_);
    if (thread.wait.claimed.load(kRelaxed)) return false;
    queue.waiters_.remove(thread);
    return true;
  }

 private:
  SpinLock lock_;
  WaitQueue waiters_ GUARDED_BY(lock_);
};

// Whether the capability that a waiting thread waits through is gone.
bool is_revoked(const Thread& t);

}  // namespace keel
