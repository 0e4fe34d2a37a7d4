// Scheduler: one CPU's ready threads. The highest class that has one is served; the normal class is shared between
// groups by weight, all others go strictly by level. Picking is O(depth of the group), without groups O(1).
//
// Levels       five classes with priorities inside (abi/types.h): idle, low, normal, high, real-time. A thread is
//              queued at the level of the scheduling context that it runs on, which may be a caller's (donation).
// Shares       in the normal class levels order the threads of one group. Between groups virtual time decides: each
//              share's grows with the CPU time it gets, divided by its weight, and the one that is least goes next. In
//              a group its own threads together are one share (of weight kDefaultWeight), each child group is another.
//              A share that comes back starts no earlier than the least that is served: nobody saves up.
// Invariants   I1 a thread is in a queue exactly while its state is ready: in a level's, or parked at an account.
//              I2 bit n of ready_ is set exactly while queue n is not empty; bit kNormalLevel while any normal thread
//              is queued. I3 the running thread is in no queue.
//              I4 while several groups have queued normal threads, sole_ is null, and a share is in its tree exactly
//              while it has one of them. Otherwise no share is in a tree, and sole_ is the group that has them, if one
//              does: it is followed only when bit kNormalLevel is set, for it may be gone.
// Locks        none: only the CPU itself touches its queues.
// Costs        a thread of another group than the last that becomes ready: O(log groups) per level of the tree.
// See          docs/subsystems/scheduling.md, docs/adr/0009-cpu-budgets.md
#pragma once

#include "abi/types.h"
#include "base/atomic.h"
#include "base/intrusive_tree.h"
#include "base/types.h"
#include "kernel/core/account.h"

namespace keel {

class Cpu;
class Thread;

// A thread's place in a ready queue.
struct ReadyLink {
  Thread* next = nullptr;
  Thread* previous = nullptr;
  ReadyList* list = nullptr;
};

// What a piece of work belongs to, by the word of who began it: for people who look for where time went, never for
// decisions.
struct Causality {
  u64 trace = 0;  // 0: nothing that anybody asked to follow
  u64 span = 0;
};

// A right to CPU time. Each thread has one of its own, and runs on its caller's while it serves a call.
struct SchedulingContext {
  void set_level(u32 to);
  void set_account(Account& to);

  u32 level = kNormalLevel;  // at which it runs: base_level, or more while somebody waits for it
  u32 base_level = kNormalLevel;
  Thread* owner = nullptr;
  Account* account = nullptr;  // of the CPU that its owner is on
  u64 consumed = 0;            // time stamp counter units, of all threads that ran on it
  Causality causality;         // travels with the context along calls
  ReadyList* list = nullptr;   // where a thread that runs on it is queued: of the account and the level
};

// One claim on the normal class's time: a group's own threads, or a child group.
struct Share {
  Share(FairQueue* among, FairQueue* of, u32 weight) : among(among), of(of) { set_weight(weight); }
  void set_weight(u32 weight) { inverse = (u32{1} << kInverseBits) / weight; }

  static constexpr u32 kInverseBits = 20;
  struct ByTime {
    u64 operator()(const Share& s) const { return s.time; }
  };
  TreeHook hook;
  u64 time = 0;  // virtual; changes only outside of the tree
  u32 inverse = 0;
  bool queued = false;
  FairQueue* const among;  // the group whose time it is a share of
  FairQueue* const of;
};

// Shares by virtual time.
class ShareQueue {
 public:
  bool empty() const { return tree_.empty(); }
  bool is_alone(const Share& queued) const { return tree_.first() == &queued && tree_.next(queued) == nullptr; }
  Share* first() const { return tree_.first(); }
  Share* next(const Share& queued) const { return tree_.next(queued); }
  void insert(Share& share) {
    share.queued = true;
    tree_.insert(share);
  }
  void erase(Share& share) {
    share.queued = false;
    tree_.erase(share);
  }
  bool check() const { return tree_.check(); }

 private:
  IntrusiveTree<Share, &Share::hook, Share::ByTime> tree_;
};

// What one group has on one CPU: its account and its ready threads of the normal class.
class FairQueue {
 public:
  static constexpr u32 kDefaultWeight = 100;
  static constexpr u32 kMaxWeight = 10'000;
  static constexpr u32 kNormalLevels = kHighLevel - kNormalLevel;

  FairQueue(FairQueue& parent, CpuBudget& budget) : FairQueue(&parent, &budget, parent.others_) {}
  // The root group's. `others`: the lists of the CPU's other classes, by level.
  explicit FairQueue(ReadyList* others) : FairQueue(nullptr, nullptr, others) {}

  Account account;

  // Takes effect for the time used from now on.
  void set_weight(u32 weight) { self_.set_weight(weight); }
  // Where the threads that run on its accounts are queued.
  ReadyList& list(u32 level) {
    return level - kNormalLevel < kNormalLevels ? lists_[level - kNormalLevel] : others_[level];
  }

 private:
  friend class Scheduler;
  friend class FastScheduling;  // fast_scheduling.h
  FairQueue(FairQueue* parent, CpuBudget* budget, ReadyList* others);

  Share own_;   // its own threads', among its children
  Share self_;  // its own, among its siblings; the root's is never used
  ShareQueue shares_;
  ReadyList* const others_;
  u64 floor_ = 0;  // no share that comes back starts before it
  u32 ready_ = 0;  // a bit for each normal level that has a thread
  ReadyList lists_[kNormalLevels];
};

class Scheduler {
 public:
  static constexpr u64 kQuantumNs = 10'000'000;

  explicit Scheduler(Cpu& cpu);

  FairQueue root{lists_};

  void enqueue_back(Thread& thread);
  void enqueue_front(Thread& thread);
  // Takes a ready thread out of its queue, parked or not.
  void remove(Thread& thread);
  // Takes the thread that is to run next; null when nothing is ready.
  Thread* pick();
  void park(Thread& thread, ReadyList& list);

  static bool is_parked(const Thread& ready);
  // Whether a ready thread must take the CPU from one that runs on `running`: it is of a higher class or level.
  bool outranks(const SchedulingContext& running) const {
    if (ready_ == 0) return false;
    const u32 top = highest(ready_);
    const u32 rank = rank_of(running.level);
    if (top != rank || top != kNormalLevel) return top > rank;
    const u32 ready = running.account->queue->ready_;
    return ready >> (running.level - kNormalLevel) > 1;
  }
  // The same, or that it is its turn when the quantum is over.
  bool contends(const SchedulingContext& running) const {
    if (ready_ == 0) return false;
    const u32 top = highest(ready_);
    const u32 rank = rank_of(running.level);
    if (top != rank || top != kNormalLevel) return top >= rank;
    const FairQueue& queue = *running.account->queue;
    return queue.ready_ >> (running.level - kNormalLevel) != 0 || others_share(queue);
  }
  // Whether a thread that becomes ready on `woken` takes the CPU from one on `running`.
  bool preempts(const SchedulingContext& woken, const SchedulingContext& running) {
    FairQueue* const queue = woken.account->queue;
    if (queue == running.account->queue || !is_normal(woken.level) || !is_normal(running.level))
      return woken.level > running.level;
    return preempts_share(*queue, running);
  }

  // Time that was charged to the account reaches its group, the groups above, and their virtual times.
  void settle(Account& account);
  // Whether more groups than the root have normal threads: then virtual times must be right.
  bool is_shared() const { return (ready_ >> kNormalLevel & 1) != 0 && sole_ != &root; }
  // A thread of the group runs: if no other is queued, those of this group may be queued in line.
  void expect(FairQueue& queue) {
    if ((ready_ >> kNormalLevel & 1) == 0) sole_ = &queue;
  }
  bool has_real_time() const { return ready_ >> kRealTimeLevel != 0; }
  // How many threads wait here to run; other CPUs may ask, and get a recent answer.
  u32 ready_count() const { return count_.load(kRelaxed); }
  // A thread that `wanted` says yes to, of those at the ends of the queues; null if there is none.
  template <class F>
  Thread* find(F wanted) const {
    for (u64 levels = ready_; levels != 0; levels &= levels - 1) {
      const u32 level = u32(__builtin_ctzll(levels));
      if (level == kNormalLevel) {
        if (Thread* t = find_normal(sole_ != nullptr ? *sole_ : root, wanted)) return t;
      } else if (Thread* t = lists_[level].last; wanted(*t)) {
        return t;
      }
    }
    return nullptr;
  }
  // Only tests have it (scheduler_check_test.h): how many threads are queued or parked; -1 if I1, I2 or I4 does not
  // hold.
  i64 check() const;
  // I2 for the classes whose threads are queued here, in bounded time; spoil() breaks it.
  bool bits_agree() const;
  void spoil(Thread& thread) { lists_[kLevels - 1].first = &thread; }

 private:
  friend class FastScheduling;  // fast_scheduling.h
  ReadyList& link(Thread& thread);
  void raise_to_floors(FairQueue& queue);
  void insert_shares(FairQueue& queue);
  void erase_shares(FairQueue& queue);
  FairQueue* only_queue();
  FairQueue* first_queue();
  void come_back(FairQueue& queue);
  void go_away(FairQueue& queue);
  static bool is_normal(u32 level) { return level - kNormalLevel < FairQueue::kNormalLevels; }
  // All normal levels are one to the other classes.
  static u32 rank_of(u32 level) { return is_normal(level) ? kNormalLevel : level; }
  static u32 highest(u64 bits) { return 63 - u32(__builtin_clzll(bits)); }
  // Whether a share is queued that none of the queue's threads is under.
  bool others_share(const FairQueue& queue) const;
  bool preempts_share(FairQueue& woken, const SchedulingContext& running);
  static void advance(Share& share, u64 used);
  // `running` is the queue of who runs, and settled: its shares, and the first of those that wait, are the least
  // served.
  void raise_floors(const FairQueue& running);
  template <class F>
  Thread* find_normal(const FairQueue& queue, F wanted) const {
    for (u32 levels = queue.ready_; levels != 0; levels &= levels - 1) {
      Thread* t = queue.lists_[__builtin_ctz(levels)].last;
      if (wanted(*t)) return t;
    }
    for (const Share* share = queue.shares_.first(); share != nullptr; share = queue.shares_.next(*share)) {
      if (share->of == &queue) continue;
      if (Thread* t = find_normal(*share->of, wanted)) return t;
    }
    return nullptr;
  }
  bool owns(const ReadyList& list) const;
  i64 check_list(const ReadyList& list, u64 bit) const;
  i64 check_queue(const FairQueue& queue) const;

  Cpu& cpu_;
  ReadyList lists_[kLevels];
  u64 ready_ = 0;
  FairQueue* sole_ = &root;  // the only one that may have queued threads of normal levels; null: several have
  u32 parked_ = 0;
  Atomic<u32> count_{0};
  void count(i32 change) { count_.store(count_.load(kRelaxed) + u32(change), kRelaxed); }
};

}  // namespace keel
