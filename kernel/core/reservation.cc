#include "kernel/core/reservation.h"

#include "kernel/core/machine.h"
#include "kernel/mm/heap.h"
#include "kernel/object/notification.h"

namespace keel {

Result<void> check_budget(u64 budget_ns, u64 period_ns, u64 most_ns) {
  if (period_ns == 0) return budget_ns == 0 ? Status::ok : Status::invalid_argument;
  if (period_ns < Reservation::kMinPeriodNs || period_ns > Reservation::kMaxPeriodNs) return Status::invalid_argument;
  return budget_ns != 0 && budget_ns <= most_ns ? Status::ok : Status::invalid_argument;
}

Reservation::Reservation(Cpu& cpu, ResourceGroup& group)
    : KObject(ObjectKind::scheduling_context, group),
      cpu_(cpu),
      account_(*group.queue(cpu).account.queue, &group.queue(cpu).account, &budget_) {}

Result<RefPtr<Reservation>> Reservation::create(Cpu& cpu, ResourceGroup& group) {
  return RefPtr<Reservation>::adopt(TRY(make<Reservation>(cpu, group, cpu, group)));
}

void Reservation::destroy(Cpu& cpu) {
  cpu_.reserved_ppm -= reserved_ppm_;
  account_.leave_timers(cpu);
  Binding<Notification> told;
  budget_.notify(cpu, told);
  told.release(cpu);
  destroy_object(cpu, group(), this);
}

Result<void> Reservation::configure(Cpu& cpu, u32 level, u64 budget_ns, u64 period_ns) {
  TRY(check_budget(budget_ns, period_ns, period_ns));
  const bool real_time = level >= kRealTimeLevel && period_ns != 0;
  const u64 wanted = real_time ? (budget_ns * 1'000'000 + period_ns - 1) / period_ns : 0;
  if (cpu_.reserved_ppm - reserved_ppm_ + wanted > kMaxReserved && wanted > reserved_ppm_) {
    return Status::quota_exceeded;
  }
  cpu_.reserved_ppm += wanted - reserved_ppm_;
  reserved_ppm_ = wanted;
  budget_.set(cpu, cpu.machine.clock.to_tsc(budget_ns), cpu.machine.clock.to_tsc(period_ns), 1);
  level_ = level;
  account_.unpark(cpu);
  if (cpu.context != nullptr) cpu.change_context(cpu.context);  // it may be ours, with a slice of the old budget
  for (Thread* t = threads_.front(); t != nullptr; t = threads_.next(*t)) t->set_level(cpu, level);
  return {};
}

Result<void> Reservation::bind(Cpu& cpu, Thread& thread) {
  if (thread.reservation.get() == this) return {};
  if (thread_count_ == kMaxThreads) return Status::busy;
  thread.set_reservation(cpu, this, level_);
  return {};
}

void Reservation::join(Thread& thread) {
  threads_.push_back(thread);
  ++thread_count_;
  thread.reservation = RefPtr<Reservation>(*this);
}

void Reservation::leave(Thread& thread) {
  threads_.remove(thread);
  --thread_count_;
  thread.reservation.reset();  // may have been the last reference: freed later
}

}  // namespace keel
