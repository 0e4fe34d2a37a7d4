#include "kernel/core/scheduler.h"

#include "kernel/core/thread.h"

namespace keel {

// The queues are linked through the threads themselves; a thread remembers the level that it was queued at, because
// its context's level may change meanwhile.

void Scheduler::enqueue_back(Thread& thread) {
  u32 level = thread.ready_link.level = thread.context->level;
  thread.ready_link.next = nullptr;
  thread.ready_link.previous = tails_[level];
  (tails_[level] != nullptr ? tails_[level]->ready_link.next : heads_[level]) = &thread;
  tails_[level] = &thread;
  ready_ |= u64{1} << level;
  count(1);
}

void Scheduler::enqueue_front(Thread& thread) {
  u32 level = thread.ready_link.level = thread.context->level;
  thread.ready_link.previous = nullptr;
  thread.ready_link.next = heads_[level];
  (heads_[level] != nullptr ? heads_[level]->ready_link.previous : tails_[level]) = &thread;
  heads_[level] = &thread;
  ready_ |= u64{1} << level;
  count(1);
}

void Scheduler::remove(Thread& thread) {
  auto& link = thread.ready_link;
  (link.previous != nullptr ? link.previous->ready_link.next : heads_[link.level]) = link.next;
  (link.next != nullptr ? link.next->ready_link.previous : tails_[link.level]) = link.previous;
  if (heads_[link.level] == nullptr) ready_ &= ~(u64{1} << link.level);
  link.next = link.previous = nullptr;
  count(-1);
}

Thread* Scheduler::pick() {
  i32 level = top_level();
  if (level < 0) return nullptr;
  Thread* thread = heads_[level];
  remove(*thread);
  return thread;
}

i64 Scheduler::check() const {
  i64 count = 0;
  for (u32 level = 0; level < kLevels; ++level) {
    if ((heads_[level] != nullptr) != ((ready_ >> level & 1) != 0)) return -1;
    const Thread* previous = nullptr;
    for (const Thread* t = heads_[level]; t != nullptr; t = t->ready_link.next) {
      if (t->status() != ThreadStatus::ready || t->ready_link.previous != previous || t->ready_link.level != level)
        return -1;
      previous = t;
      ++count;
    }
    if (tails_[level] != previous) return -1;
  }
  return count;
}

}  // namespace keel
