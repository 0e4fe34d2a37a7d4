// Timer: sets bits in a notification at a time, once or periodically.
#pragma once

#include "kernel/cap/binding.h"
#include "kernel/core/timer_queue.h"

namespace keel {

class Notification;

class Timer final : public KObject, public TimerEntry {
 public:
  static constexpr ObjectKind kKind = ObjectKind::timer;
  static constexpr u64 kMinPeriodNs = 100'000;
  // Errors: no_memory, quota_exceeded, revoked, too_deep.
  static Result<RefPtr<Timer>> create(Cpu& cpu, ResourceGroup& group, const BindRequest<Notification>& target);

  // Stops it here; it will be set there.
  void change_home(Cpu& from, Cpu& to) {
    TimerQueue::remove(from, *this);
    set_home(to);
  }
  void set(Cpu& cpu, Deadline deadline, u64 period_ns);
  void on_zero_handles(Cpu& cpu) override { TimerQueue::remove(cpu, *this); }

 private:
  friend class ObjectMaker;
  explicit Timer(ResourceGroup& group) : KObject(ObjectKind::timer, group) {}
  ~Timer() override = default;
  void expired(Cpu& cpu) override;
  void destroy(Cpu& cpu) override;

  Binding<Notification> notification_;
  u64 next_ns_ = 0;
  u64 period_ns_ = 0;
};

}  // namespace keel
