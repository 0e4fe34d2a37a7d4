#include "kernel/core/words.h"

#include <arch/memory.h>

#include "kernel/core/cpu.h"
#include "kernel/mm/address_space.h"

namespace keel {

SharedQueue& WordTable::bucket(const WordRef& word) {
  u64 hash = (word.memory->id() * 0x9e3779b97f4a7c15 + word.offset) * 0xbf58476d1ce4e5b9;
  return buckets_[hash >> 58].queue;
}

Result<void> WordTable::wait(Cpu& cpu, Thread& thread, const WordRef& word, u32 expected, Deadline deadline) {
  SharedQueue& queue = bucket(word);
  LockGuard guard(cpu, queue.lock());
  // SAFETY: the word lies in a page that `word` keeps, aligned, and is read once through the kernel's own mapping: the
  // named exception of law 2.
  const auto* value = static_cast<const Atomic<u32>*>(phys_to_virt(word.address));
  if (value->load(kAcquire) != expected) return Status::would_block;  // pairs with the waker's store before its call
  if (thread.take_cancel()) return Status::cancelled;
  if (deadline == kPoll) return Status::timed_out;
  thread.begin_wait(cpu, WaitKind::word, nullptr, kNoCapability, deadline);
  thread.wait.key = word.memory->id();
  thread.wait.key_offset = word.offset;
  queue.add(thread);
  return {};
}

u64 WordTable::wake(Cpu& cpu, const WordRef& word, u64 count) {
  const auto same = [&](const Thread& t) {
    return t.wait.key == word.memory->id() && t.wait.key_offset == word.offset;
  };
  return bucket(word).wake(cpu, count < kMostWoken ? count : kMostWoken, same, Status::ok);
}

}  // namespace keel
