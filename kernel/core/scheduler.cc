#include "kernel/core/scheduler.h"

#include "kernel/core/cpu.h"
#include "kernel/core/thread.h"

namespace keel {
namespace {

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

void SchedulingContext::set_level(u32 to) {
  level = to;
  if (account != nullptr) list = &account->queue->list(level);
}

void SchedulingContext::set_account(Account& to) {
  account = &to;
  list = &to.queue->list(level);
}

FairQueue::FairQueue(FairQueue* parent, CpuBudget* budget, ReadyList* others)
    : account(*this, parent == nullptr ? nullptr : &parent->account, budget),
      own_(this, this, kDefaultWeight),
      self_(parent, this, kDefaultWeight),
      others_(others) {
  for (u32 i = 0; i < kNormalLevels; ++i) {
    lists_[i].queue = this;
    lists_[i].bit = u32{1} << i;
  }
}

Scheduler::Scheduler(Cpu& cpu) : cpu_(cpu) {
  for (u32 level = 0; level < kLevels; ++level) lists_[level].bit = u64{1} << level;
}

// The queues are linked through the threads themselves; a thread remembers where it was queued, because its context's
// level may change meanwhile.

inline ReadyList& Scheduler::link(Thread& thread) {
  ReadyList& list = *thread.context->list;
#ifdef KEEL_LOCK_CHECKER
  if (!owns(list)) __builtin_trap();
#endif
  if (list.queue == nullptr) {
    ready_ |= list.bit;
    return list;
  }
  FairQueue& queue = *list.queue;
  if (queue.ready_ == 0) come_back(queue);
  queue.ready_ |= u32(list.bit);
  return list;
}

// The group has a normal thread again: its share starts where the others are, the running one included.
void Scheduler::come_back(FairQueue& queue) {
  const bool first = (ready_ >> kNormalLevel & 1) == 0;
  if (!first && sole_ != nullptr) {
    raise_to_floors(*sole_);  // the fast paths leave it to us
    insert_shares(*sole_);
    sole_ = nullptr;
  }
  if (cpu_.context != nullptr && cpu_.context->account->queue != &queue) {
    cpu_.charge(cpu_.now_tsc());
    settle(*cpu_.context->account);
    raise_floors(*cpu_.context->account->queue);
  }
  raise_to_floors(queue);
  if (first) {
    ready_ |= u64{1} << kNormalLevel;
    sole_ = &queue;
  } else {
    insert_shares(queue);
  }
}

void Scheduler::raise_to_floors(FairQueue& queue) {
  for (Share* share = &queue.own_; !share->queued; share = &share->among->self_) {
    if (share->time < share->among->floor_) share->time = share->among->floor_;
    if (share->among == &root) return;
  }
}

void Scheduler::insert_shares(FairQueue& queue) {
  for (Share* share = &queue.own_; !share->queued; share = &share->among->self_) {
    share->among->shares_.insert(*share);
    if (share->among == &root) return;
  }
}

void Scheduler::erase_shares(FairQueue& queue) {
  for (Share* share = &queue.own_;; share = &share->among->self_) {
    share->among->shares_.erase(*share);
    if (!share->among->shares_.empty() || share->among == &root) return;
  }
}

// The group that has queued threads, if there is no other.
FairQueue* Scheduler::only_queue() {
  for (FairQueue* queue = &root;;) {
    const Share* share = queue->shares_.first();
    if (!queue->shares_.is_alone(*share)) return nullptr;
    if (share->of == queue) return queue;
    queue = share->of;
  }
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
  ++parked_;
  push_back(list, thread);
}

bool Scheduler::is_parked(const Thread& ready) { return ready.ready_link.list->bit == 0; }

void Scheduler::remove(Thread& thread) {
  ReadyLink& link = thread.ready_link;
  ReadyList& list = *link.list;
  (link.previous != nullptr ? link.previous->ready_link.next : list.first) = link.next;
  (link.next != nullptr ? link.next->ready_link.previous : list.last) = link.previous;
  link.next = link.previous = nullptr;
  if (list.bit == 0) {
    --parked_;
    return;
  }
  count(-1);
  if (list.first != nullptr) return;
  if (list.queue == nullptr) {
    ready_ &= ~list.bit;
    return;
  }
  list.queue->ready_ &= ~u32(list.bit);
  if (list.queue->ready_ == 0) go_away(*list.queue);
}

void Scheduler::go_away(FairQueue& queue) {
  if (sole_ != nullptr) {
    ready_ &= ~(u64{1} << kNormalLevel);
    return;
  }
  erase_shares(queue);
  FairQueue* const left = only_queue();
  if (left == nullptr) return;
  erase_shares(*left);
  sole_ = left;
}

Thread* Scheduler::pick() {
  if (ready_ == 0) return nullptr;
  const u32 rank = highest(ready_);
  Thread* thread = lists_[rank].first;
  if (rank == kNormalLevel) {
    FairQueue* const queue = sole_ != nullptr ? sole_ : first_queue();
    for (const Share* share = &queue->own_;; share = &share->among->self_) {
      FairQueue& among = *share->among;
      if (among.floor_ < share->time) among.floor_ = share->time;
      if (&among == &root) break;
    }
    thread = queue->lists_[highest(queue->ready_)].first;
  }
  remove(*thread);
  return thread;
}

FairQueue* Scheduler::first_queue() {
  for (FairQueue* queue = &root;;) {
    FairQueue* const of = queue->shares_.first()->of;
    if (of == queue) return queue;
    queue = of;
  }
}

bool Scheduler::others_share(const FairQueue& queue) const {
  if (sole_ != nullptr) return sole_ != &queue && (ready_ >> kNormalLevel & 1) != 0;
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

bool Scheduler::owns(const ReadyList& list) const {
  if (list.queue == nullptr) return &list >= lists_ && &list < lists_ + kLevels;
  const Share* share = &list.queue->own_;
  while (share->among != &root && share->among->self_.among != nullptr) share = &share->among->self_;
  return share->among == &root;
}

bool Scheduler::bits_agree() const {
  u64 bits = ready_ & u64{1} << kNormalLevel;
  for (u32 level = 0; level < kLevels; ++level)
    if (!is_normal(level) && lists_[level].first != nullptr) bits |= u64{1} << level;
  return bits == ready_;
}

}  // namespace keel
