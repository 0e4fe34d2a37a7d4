#include "kernel/object/timer.h"

#include "kernel/core/cpu.h"
#include "kernel/mm/heap.h"
#include "kernel/object/notification.h"

namespace keel {

Result<RefPtr<Timer>> Timer::create(Cpu& cpu, ResourceGroup& group, const BindRequest<Notification>& target) {
  auto timer = RefPtr<Timer>::adopt(TRY(make<Timer>(cpu, group, group)));
  TRY(timer->notification_.bind(cpu, target));
  return timer;
}

void Timer::destroy(Cpu& cpu) {
  notification_.release(cpu);
  destroy_object(cpu, group(), this);
}

void Timer::set(Cpu& cpu, Deadline deadline, u64 period_ns) {
  TimerQueue::remove(cpu, *this);
  period_ns_ = period_ns;
  next_ns_ = deadline.value;
  if (deadline != kForever) cpu.timers.add(cpu, *this, deadline);
}

void Timer::expired(Cpu& cpu) {
  notification_.signal(cpu);
  if (period_ns_ == 0) return;
  // Missed periods are not made up for: the next one lies in the future.
  u64 now = cpu.now_ns();
  const u64 periods = now > next_ns_ ? (now - next_ns_) / period_ns_ + 1 : 1;
  u64 ahead = 0;
  if (!checked_mul(periods, period_ns_, &ahead) || !checked_add(next_ns_, ahead, &next_ns_)) return;  // never
  cpu.timers.add(cpu, *this, Deadline(next_ns_));
}

}  // namespace keel
