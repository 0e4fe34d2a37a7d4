#include "user/runtime/sync.h"

#include "user/runtime/stubs.h"

namespace keel {

bool wait_while(Atomic<u32>& word, u32 expected, Deadline deadline) {
  const u64 address = reinterpret_cast<u64>(&word);
  while (word.load(kAcquire) == expected) {  // also makes the page present, should the kernel ask for it
    const Result<void> waited = sys::word_wait(address, expected, deadline);
    if (!waited.has_value() && waited.error() == Status::timed_out) return word.load(kAcquire) != expected;
  }
  return true;
}

void wake(Atomic<u32>& word, u32 count) {
  // Fails only if nobody ever touched the page, so that nobody waits.
  // The kernel wakes some at a time.
  while (count > 0) {
    const u64 woken = sys::word_wake(reinterpret_cast<u64>(&word), count).value_or(0);
    if (woken == 0) return;
    count -= woken;
  }
}

void Mutex::lock_slow(u32 seen) {
  if (seen != kContended) seen = state_.exchange(kContended, kAcquire);
  while (seen != kFree) {
    wait_while(state_, kContended);
    seen = state_.exchange(kContended, kAcquire);
  }
}

void Mutex::wake_one() { wake(state_, 1); }

bool ConditionVariable::wait(Mutex& mutex, Deadline deadline) {
  const u32 seen = sequence_.load(kRelaxed);  // under the mutex, as is the change that somebody waits for
  mutex.unlock();
  const bool woken = wait_while(sequence_, seen, deadline);
  mutex.lock();
  return woken;
}

void ConditionVariable::notify_one() {
  sequence_.fetch_add(1, kRelease);
  wake(sequence_, 1);
}

void ConditionVariable::notify_all() {
  sequence_.fetch_add(1, kRelease);
  wake(sequence_, ~u32{0});
}

}  // namespace keel
