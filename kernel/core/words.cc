#include "kernel/core/words.h"

#include <arch/memory.h>

#include "kernel/core/cpu.h"
#include "kernel/mm/address_space.h"

namespace keel {

WordTable::Bucket& WordTable::bucket(const WordRef& word) {
  u64 hash = (word.memory->id() * 0x9e3779b97f4a7c15 + word.offset) * 0xbf58476d1ce4e5b9;
  return buckets_[hash >> 58];
}

Result<void> WordTable::wait(Cpu& cpu, Thread& thread, const WordRef& word, u32 expected, Deadline deadline) {
  Bucket& b = bucket(word);
  LockGuard guard(cpu, b.lock);
  // SAFETY: the word lies in a page that `word` keeps, aligned, and is read once through the kernel's own mapping: the
  // named exception of law 2.
  const auto* value = static_cast<const Atomic<u32>*>(phys_to_virt(word.address));
  if (value->load(kAcquire) != expected) return Status::would_block;  // pairs with the waker's store before its call
  if ((thread.flags & Thread::kCancel) != 0) {
    thread.flags &= ~Thread::kCancel;
    return Status::cancelled;
  }
  if (deadline == kPoll) return Status::timed_out;
  thread.begin_wait(cpu, WaitKind::word, nullptr, kNoCapability, deadline);
  thread.wait.key = word.memory->id();
  thread.wait.key_offset = word.offset;
  b.waiters.push_back(thread);
  return {};
}

u64 WordTable::wake(Cpu& cpu, const WordRef& word, u64 count) {
  Bucket& b = bucket(word);
  if (count > 64) count = 64;
  u64 woken = 0;
  WaitQueue taken;  // their waits end behind the lock: that takes the scheduler's
  {
    LockGuard guard(cpu, b.lock);
    Thread* next = nullptr;
    for (Thread* t = b.waiters.front(); t != nullptr && woken < count; t = next) {
      next = b.waiters.next(*t);
      if (t->wait.key != word.memory->id() || t->wait.key_offset != word.offset) continue;
      b.waiters.remove(*t);
      taken.push_back(*t);
      ++woken;
    }
  }
  while (Thread* t = taken.front()) t->end_wait(cpu, Status::ok);
  return woken;
}

}  // namespace keel
