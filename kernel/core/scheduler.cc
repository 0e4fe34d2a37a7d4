#include "kernel/core/scheduler.h"

#include "kernel/core/cpu.h"
#include "kernel/core/thread.h"

namespace keel {
namespace {

constexpr u32 kParked = kLevels;  // ReadyLink::level of a thread in no level's queue

void push_back(ReadyList& list, Thread& thread) {
  thread.ready_link.next = nullptr;
  thread.ready_link.previous = list.last;
  (list.last != nullptr ? list.last->ready_link.next : list.first) = &thread;
  list.last = &thread;
  thread.ready_link.list = &list;
}

void push_front(ReadyList& list, Thread& thread) {
  thread.ready_link.previous = nullptr;
  thread.ready_link.next = list.first;
  (list.first != nullptr ? list.first->ready_link.previous : list.last) = &thread;
  list.first = &thread;
  thread.ready_link.list = &list;
}

}  // namespace

// The queues are linked through the threads themselves; a thread remembers where it was queued, because its context's
// level may change meanwhile.

inline ReadyList& Scheduler::link(Thread& thread) {
  ReadyLink& link = thread.ready_link;
  const u32 level = link.level = thread.context->level;
  if (!is_normal(level)) {
    ready_ |= u64{1} << level;
    link.queue = nullptr;
    return lists_[level];
  }
  FairQueue& queue = *thread.context->account->queue;
  link.queue = &queue;
  queue.ready_ |= u32{1} << (level - kNormalLevel);
  if (!queue.own_.queued) come_back(queue);
  return queue.lists_[level - kNormalLevel];
}

// The group has a normal thread again: its share starts where the others are, the running one included.
void Scheduler::come_back(FairQueue& queue) {
  if (cpu_.context != nullptr && cpu_.context->account->queue != &queue) {
    cpu_.charge(cpu_.now_tsc());
    settle(*cpu_.context->account);
    raise_floors(*cpu_.context->account->queue);
  }
  for (Share* share = &queue.own_;;) {
    FairQueue& among = *share->among;
    if (share->time < among.floor_) share->time = among.floor_;
    among.shares_.insert(*share);
    if (&among == &root) break;
    share = &among.self_;
    if (share->queued) break;
  }
  ready_ |= u64{1} << kNormalLevel;
}

void Scheduler::enqueue_back(Thread& thread) {
  push_back(link(thread), thread);
  count(1);
}

void Scheduler::enqueue_front(Thread& thread) {
  push_front(link(thread), thread);
  count(1);
}

void Scheduler::park(Thread& thread, ReadyList& list) {
  thread.ready_link.level = kParked;
  ++parked_;
  push_back(list, thread);
}

bool Scheduler::is_parked(const Thread& ready) { return ready.ready_link.level == kParked; }

void Scheduler::remove(Thread& thread) {
  ReadyLink& link = thread.ready_link;
  ReadyList& list = *link.list;
  (link.previous != nullptr ? link.previous->ready_link.next : list.first) = link.next;
  (link.next != nullptr ? link.next->ready_link.previous : list.last) = link.previous;
  link.next = link.previous = nullptr;
  if (link.level == kParked) {
    --parked_;
  } else {
    count(-1);
  }
  if (list.first != nullptr || link.level == kParked) return;
  if (link.queue == nullptr) {
    ready_ &= ~(u64{1} << link.level);
    return;
  }
  link.queue->ready_ &= ~(u32{1} << (link.level - kNormalLevel));
  if (link.queue->ready_ == 0) go_away(*link.queue);
}

void Scheduler::go_away(FairQueue& queue) {
  for (Share* share = &queue.own_;;) {
    FairQueue& among = *share->among;
    among.shares_.erase(*share);
    if (!among.shares_.empty()) return;
    if (&among == &root) break;
    share = &among.self_;
  }
  ready_ &= ~(u64{1} << kNormalLevel);
}

Thread* Scheduler::pick() {
  if (ready_ == 0) return nullptr;
  const u32 rank = highest(ready_);
  Thread* thread = lists_[rank].first;
  if (rank == kNormalLevel) {
    FairQueue* queue = &root;
    for (Share* share = nullptr; share == nullptr || share->of != queue;) {
      if (share != nullptr) queue = share->of;
      share = queue->shares_.first();
      if (queue->floor_ < share->time) queue->floor_ = share->time;
    }
    thread = queue->lists_[highest(queue->ready_)].first;
  }
  remove(*thread);
  return thread;
}

bool Scheduler::others_share(const FairQueue& queue) const {
  for (const Share* share = &queue.own_;; share = &share->among->self_) {
    const ShareQueue& shares = share->among->shares_;
    if (!shares.empty() && !shares.is_alone(*share)) return true;
    if (share->among == &root) return false;
  }
}

// The shares that compete are those at which the two groups part. Groups are few: at most kMaxDepth each.
bool Scheduler::preempts_share(FairQueue& woken, const SchedulingContext& running) {
  cpu_.charge(cpu_.now_tsc());
  settle(*running.account);
  for (const Share* a = &woken.own_;; a = &a->among->self_) {
    for (const Share* b = &running.account->queue->own_;; b = &b->among->self_) {
      if (a->among == b->among) return a->time <= b->time;  // who was waiting goes first
      if (b->among == &root) break;
    }
  }
}

void Scheduler::advance(Share& share, u64 used) {
  FairQueue& among = *share.among;
  const bool queued = share.queued && !among.shares_.is_alone(share);
  if (queued) among.shares_.erase(share);
  constexpr u32 kScale = Share::kInverseBits - 6;
  share.time += u64((static_cast<unsigned __int128>(used) * share.inverse) >> kScale);
  if (queued) among.shares_.insert(share);
}

void Scheduler::raise_floors(const FairQueue& running) {
  for (const Share* share = &running.own_;; share = &share->among->self_) {
    FairQueue& among = *share->among;
    const Share* first = among.shares_.first();
    const u64 least = first != nullptr && first->time < share->time ? first->time : share->time;
    if (among.floor_ < least) among.floor_ = least;
    if (&among == &root) return;
  }
}

void Scheduler::settle(Account& account) {
  advance(account.queue->own_, account.used - account.settled_);
  for (Account* a = &account;; a = a->parent) {
    const u64 used = a->used - a->settled_;
    a->settled_ = a->used;
    if (a->parent == nullptr) return;
    a->parent->used += used;
    if (a == &a->queue->account) advance(a->queue->self_, used);
  }
}

i64 Scheduler::check_list(const ReadyList& list, u32 level) const {
  i64 count = 0;
  const Thread* previous = nullptr;
  for (const Thread* t = list.first; t != nullptr; t = t->ready_link.next) {
    const ReadyLink& link = t->ready_link;
    if (t->status() != ThreadStatus::ready || link.previous != previous || link.level != level || link.list != &list)
      return -1;
    previous = t;
    ++count;
  }
  return list.last == previous ? count : i64{-1};
}

i64 Scheduler::check_queue(const FairQueue& queue) const {
  i64 count = 0;
  for (u32 i = 0; i < FairQueue::kNormalLevels; ++i) {
    const i64 n = check_list(queue.lists_[i], kNormalLevel + i);
    if (n < 0 || (n != 0) != ((queue.ready_ >> i & 1) != 0)) return -1;
    count += n;
  }
  if (!queue.shares_.check() || queue.own_.queued != (count != 0)) return -1;  // I4
  for (const Share* share = queue.shares_.first(); share != nullptr; share = queue.shares_.next(*share)) {
    if (share->of == &queue) continue;
    const i64 n = check_queue(*share->of);
    if (n <= 0) return -1;
    count += n;
  }
  return count;
}

i64 Scheduler::check() const {
  i64 count = check_queue(root);
  if (count < 0 || (count != 0) != ((ready_ >> kNormalLevel & 1) != 0)) return -1;
  for (u32 level = 0; level < kLevels; ++level) {
    if (is_normal(level)) continue;
    const i64 n = check_list(lists_[level], level);
    if (n < 0 || (n != 0) != ((ready_ >> level & 1) != 0)) return -1;
    count += n;
  }
  return count + parked_;
}

}  // namespace keel
