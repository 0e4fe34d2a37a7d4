// Reservation: a scheduling context that can be created: a level and a budget per period, for the threads that are
// bound to it. Their own contexts get its level and draw on its account; what they lend by calls therefore does, too.
//
// A reservation of the real-time class is admitted only while the sum of budget / period of the CPU stays within
// kMaxReserved; below that class it is a mere limit.
//
// Invariants   I1 a bound thread holds a reference, is on cpu_, and its own context has account_ and level().
// Locks        none: it belongs to the CPU that it was created on.
// Lifetime     without capabilities it lives on while threads are bound.
// See          docs/adr/0009-cpu-budgets.md, kernel/core/account.h
#pragma once

#include "kernel/core/thread.h"

namespace keel {

class Reservation final : public KObject {
 public:
  static constexpr ObjectKind kKind = ObjectKind::scheduling_context;
  static constexpr u64 kMaxReserved = 950'000;  // millionths of a CPU
  static constexpr u64 kMinPeriodNs = 50'000;
  static constexpr u64 kMaxPeriodNs = 10'000'000'000;
  static constexpr u32 kMaxThreads = 16;

  // Without a budget, at the lowest level. Errors: no_memory, quota_exceeded.
  static Result<RefPtr<Reservation>> create(Cpu& cpu, ResourceGroup& group);

  // period_ns 0: no limit. Errors: invalid_argument (a period out of range, a budget that is 0 or more than the
  // period), quota_exceeded (real time that the CPU does not have). Nothing has changed then.
  Result<void> configure(Cpu& cpu, u32 level, u64 budget_ns, u64 period_ns);

  Result<void> bind(Cpu& cpu, Thread& thread);
  // For Thread::set_reservation: it was or will be bound.
  void join(Thread& thread);
  void leave(Thread& thread);

  u32 level() const { return level_; }
  u32 threads() const { return thread_count_; }
  Account& account() { return account_; }
  CpuBudget& budget() { return budget_; }

 private:
  friend class ObjectMaker;
  Reservation(Cpu& cpu, ResourceGroup& group);
  ~Reservation() override = default;
  void destroy(Cpu& cpu) override;

  Cpu& cpu_;
  CpuBudget budget_;
  Account account_;
  u32 level_ = kIdleLevel;
  u32 thread_count_ = 0;
  u64 reserved_ppm_ = 0;  // of Cpu::reserved_ppm
  IntrusiveList<Thread, &Thread::reservation_hook> threads_;
};

// Whether so much time per so much is a budget; period 0 is none. Errors: invalid_argument.
Result<void> check_budget(u64 budget_ns, u64 period_ns, u64 most_ns);

}  // namespace keel
