#include "kernel/core/account.h"

#include "kernel/core/machine.h"
#include "kernel/object/notification.h"

namespace keel {

void CpuBudget::set(Cpu& cpu, u64 budget, u64 period, u64 slices) {
  const u64 now = cpu.now_tsc();
  LockGuard guard(cpu, lock_);
  budget_ = left_ = budget;
  slices_ = slices;
  start_ = now;
  overrun_ = false;
  period_.store(period, kRelaxed);
  version_.fetch_add(1, kRelaxed);
}

void CpuBudget::notify(Cpu& cpu, Binding<Notification>& target) {
  LockGuard guard(cpu, lock_);
  told_.swap(target);
}

u64 CpuBudget::budget(Cpu& cpu) {
  LockGuard guard(cpu, lock_);
  return budget_;
}

CpuBudget::Slice CpuBudget::take(Cpu& cpu, u64 now) {
  LockGuard guard(cpu, lock_);
  const u64 period = period_.load(kRelaxed);
  if (period == 0) return {~u64{0} >> 1, ~u64{0}};
  // `now` may lie before a start that another CPU has just set.
  if (now >= start_ && now - start_ >= period) {
    start_ += (now - start_) / period * period;
    left_ = budget_;
    overrun_ = false;
  }
  u64 amount = budget_ / slices_;
  if (amount < kLeastSlice) amount = kLeastSlice;
  if (amount > left_) amount = left_;
  left_ -= amount;
  return {amount, start_ + period};
}

void CpuBudget::report_overrun(Cpu& cpu) {
  RefPtr<Notification> told;  // it may be replaced meanwhile
  u64 bits = 0;
  {
    LockGuard guard(cpu, lock_);
    if (overrun_) return;
    overrun_ = true;
    overruns_.fetch_add(1, kRelaxed);
    if (Notification* target = told_.get()) told = RefPtr<Notification>(*target);
    bits = told_.data();
  }
  if (told) told->signal(cpu, bits);
}

Account* Account::exhausted(Cpu& cpu, u64 now) {
  for (Account* a = this; a != nullptr; a = a->parent) {
    CpuBudget* budget = a->budget_;
    if (budget == nullptr || !budget->limited()) continue;
    const bool is_same = a->version_ == budget->version();
    if (is_same && now < a->until_ && a->used < a->limit_) continue;
    // What is left of a slice is void; what was used beyond it, because the timer came late, counts against the next.
    if (!is_same || a->used < a->limit_) a->limit_ = a->used;
    a->version_ = budget->version();
    CpuBudget::Slice slice;
    do {
      slice = budget->take(cpu, now);
      a->until_ = slice.until;
      a->limit_ += slice.amount;
    } while (slice.amount != 0 && a->limit_ <= a->used);
    if (a->limit_ > a->used) continue;
    budget->report_overrun(cpu);
    return a;
  }
  return nullptr;
}

u64 Account::allowed_until(u64 now) const {
  u64 end = ~u64{0};
  for (const Account* a = this; a != nullptr; a = a->parent) {
    if (a->budget_ == nullptr || !a->budget_->limited()) continue;
    u64 until = a->until_;
    if (a->version_ != a->budget_->version() || a->used >= a->limit_) {
      until = now;
    } else if (a->limit_ - a->used < until - now) {
      until = now + (a->limit_ - a->used);
    }
    if (until < end) end = until;
  }
  return end;
}

void Account::park(Cpu& cpu, Thread& thread) {
  if (parked_.first == nullptr) {
    leave_timers(cpu);
    // One more nanosecond: the conversion rounds down, and the period must be over.
    cpu.timers.add(cpu, *this, Deadline(cpu.machine.clock.ns_at(until_) + 1));
  }
  cpu.scheduler.park(thread, parked_);
}

void Account::unpark(Cpu& cpu) {
  constexpr u32 kMost = 16;
  for (u32 n = 0; n < kMost && parked_.first != nullptr; ++n) parked_.first->requeue(cpu);
  leave_timers(cpu);
  if (parked_.first != nullptr) cpu.timers.add(cpu, *this, Deadline(cpu.now_ns()));
}

}  // namespace keel
