// Scheduler::check(), which only tests have: are its queues what its invariants say?
#pragma once

#include "kernel/core/thread.h"

namespace keel {

inline i64 Scheduler::check_list(const ReadyList& list, u64 bit) const {
  i64 count = 0;
  if (list.bit != bit) return -1;
  const Thread* previous = nullptr;
  for (const Thread* t = list.first; t != nullptr; t = t->ready_link.next) {
    const ReadyLink& link = t->ready_link;
    if (t->status() != ThreadStatus::ready || link.previous != previous || link.list != &list) return -1;
    previous = t;
    ++count;
  }
  return list.last == previous ? count : i64{-1};
}

inline i64 Scheduler::check_queue(const FairQueue& queue) const {
  i64 count = 0;
  for (u32 i = 0; i < FairQueue::kNormalLevels; ++i) {
    const i64 n = check_list(queue.lists_[i], u32{1} << i);
    if (n < 0 || (n != 0) != ((queue.ready_ >> i & 1) != 0)) return -1;
    count += n;
  }
  // I4
  if (!queue.shares_.check() || queue.own_.queued != (count != 0 && sole_ == nullptr)) return -1;
  if (sole_ != nullptr) return queue.shares_.empty() ? count : -1;
  for (const Share* share = queue.shares_.first(); share != nullptr; share = queue.shares_.next(*share)) {
    if (share->of == &queue) continue;
    const i64 n = check_queue(*share->of);
    if (n <= 0) return -1;
    count += n;
  }
  return count;
}

inline i64 Scheduler::check() const {
  const bool normal = (ready_ >> kNormalLevel & 1) != 0;
  i64 count = check_queue(normal && sole_ != nullptr ? *sole_ : root);
  if (count < 0 || (count != 0) != normal) return -1;
  for (u32 level = 0; level < kLevels; ++level) {
    if (is_normal(level)) continue;
    const i64 n = check_list(lists_[level], u64{1} << level);
    if (n < 0 || (n != 0) != ((ready_ >> level & 1) != 0)) return -1;
    count += n;
  }
  return count + parked_;
}

}  // namespace keel
