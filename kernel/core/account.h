// Account: CPU time on one CPU: how much was used by whoever runs on its contexts, and how much may be. Accounts form
// trees: a scheduling context belongs to an account, which belongs to its group's, which belongs to the parent group's.
// A reservation and the limit of a group are the same thing: an account that draws on a CpuBudget.
//
// Budgets      so much in each period, counted from when the budget was set. What was not used in a period is lost. An
//              account without budget left is exhausted until the next period: its threads are not picked, but parked.
// Invariants   I1 a parked thread is ready and linked in `parked_`; while one is, the account is in its CPU's timer
//                 queue.
//              I2 used() of an account counts its children's, up to what was settled (Scheduler::settle).
// Locks        an account is touched on its CPU only; a CpuBudget by all CPUs, under its lock.
// Costs        Cpu::charge is two additions. may_run is O(depth), without a lock unless a new period or slice begins.
// See          docs/adr/0009-cpu-budgets.md
#pragma once

#include "base/ref_ptr.h"
#include "kernel/cap/binding.h"
#include "kernel/core/lock.h"
#include "kernel/core/timer_queue.h"

namespace keel {

class Cpu;
class FairQueue;
class Notification;
class Thread;

// A queue of ready or parked threads (Thread::ready_link).
struct ReadyList {
  Thread* first = nullptr;
  Thread* last = nullptr;
  FairQueue* queue = nullptr;  // of a normal level
  u64 bit = 0;                 // in the queue's word of those that are not empty, or the CPU's; 0: of parked threads
};

// So much CPU time per period, for the accounts that draw on it. Times are in time stamp counter units.
class CpuBudget {
 public:
  CpuBudget() = default;
  CpuBudget(const CpuBudget&) = delete;
  CpuBudget& operator=(const CpuBudget&) = delete;

  // period 0: no limit. `slices`: a CPU takes that part of the budget at a time.
  void set(Cpu& cpu, u64 budget, u64 period, u64 slices);
  // Whom to tell, once in a period, that there was not enough; may be nobody. Takes `target` and gives back the last.
  void notify(Cpu& cpu, Binding<Notification>& target);

  bool limited() const { return period_.load(kRelaxed) != 0; }
  u64 budget(Cpu& cpu);
  u64 period() const { return period_.load(kRelaxed); }
  u64 overruns() const { return overruns_.load(kRelaxed); }
  // Rises when what was taken is void, because the budget was set anew.
  u32 version() const { return version_.load(kRelaxed); }

  struct Slice {
    u64 amount = 0;  // 0: nothing is left
    u64 until = 0;   // end of the period
  };
  Slice take(Cpu& cpu, u64 now);
  void report_overrun(Cpu& cpu);

 private:
  static constexpr u64 kLeastSlice = 50'000;  // taking one must not cost more than it is worth

  SpinLock lock_{LockRank::scheduler, "cpu budget"};
  u64 budget_ GUARDED_BY(lock_) = 0;
  u64 slices_ GUARDED_BY(lock_) = 1;
  u64 start_ GUARDED_BY(lock_) = 0;  // of the period that left_ is about
  u64 left_ GUARDED_BY(lock_) = 0;
  bool overrun_ GUARDED_BY(lock_) = false;  // in this period
  Binding<Notification> told_ GUARDED_BY(lock_);
  Atomic<u64> period_{0};
  Atomic<u64> overruns_{0};
  Atomic<u32> version_{0};
};

class Account final : public TimerEntry {
 public:
  // `queue`: where threads of normal levels that run on it stand. `parent` and `budget` may be null.
  Account(FairQueue& queue, Account* parent, CpuBudget* budget) : queue(&queue), parent(parent), budget_(budget) {}
  ~Account() override = default;

  u64 used = 0;  // Cpu::charge adds here
  FairQueue* const queue;
  Account* const parent;

  // Whether it is of a group or a reservation that may have a budget.
  bool limited() const { return parent != nullptr; }
  // The account that has nothing left, this one or one above it; null when there is time to run. Slices are taken as
  // needed. Whatever ran on it is settled.
  Account* exhausted(Cpu& cpu, u64 now);
  // The time stamp at which exhausted() must be asked again if it runs from now on; ~0: never.
  u64 allowed_until(u64 now) const;
  // `thread` is ready, in no queue, and runs on this account or one below it. It waits for the next period.
  void park(Cpu& cpu, Thread& thread);
  // Makes the parked threads ready, a bounded number; the timer brings the rest.
  void unpark(Cpu& cpu);
  void leave_timers(Cpu& cpu) { TimerQueue::remove(cpu, *this); }
  // Of what `below` has used, what this account, which is above it or the same, does not count yet.
  u64 unsettled(const Account& below) const { return this == &below ? 0 : below.used - below.settled_; }
  bool includes(const Account& other) const {
    const Account* a = &other;
    while (a != nullptr && a != this) a = a->parent;
    return a != nullptr;
  }

 private:
  friend class Scheduler;
  void expired(Cpu& cpu) override { unpark(cpu); }

  CpuBudget* const budget_;
  u64 settled_ = 0;  // of used: what the parent counts, too
  u64 limit_ = 0;    // of used: the slice ends there
  u64 until_ = 0;    // and it is void from then on
  u32 version_ = 0;  // of the budget, when the slice was taken
  ReadyList parked_;
};

}  // namespace keel
