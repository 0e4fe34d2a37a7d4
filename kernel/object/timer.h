// Timer: sets bits in a notification at a time, once or periodically.
#pragma once

#include "kernel/core/timer_queue.h"
#include "kernel/object/object.h"

namespace keel {

class Notification;

class Timer final : public KObject, public TimerEntry {
 public:
  static constexpr ObjectKind kKind = ObjectKind::timer;
  static constexpr u64 kMinPeriodNs = 100'000;
  static Result<RefPtr<Timer>> create(Cpu& cpu, ResourceGroup& group, Notification& notification, u64 bits);

  // Stops it here; it will be set there.
  void change_home(Cpu& from, Cpu& to) {
    TimerQueue::remove(from, *this);
    set_home(to);
  }
  void set(Cpu& cpu, Deadline deadline, u64 period_ns);
  void on_zero_handles(Cpu& cpu) override { TimerQueue::remove(cpu, *this); }

 private:
  template <class T, class... A>
  friend Result<T*> make(Cpu&, ResourceGroup&, A&&...);
  template <class T>
  friend void destroy_object(Cpu&, ResourceGroup&, T*);
  Timer(ResourceGroup& group, Notification& notification, u64 bits);
  ~Timer() override = default;
  void expired(Cpu& cpu) override;
  void destroy(Cpu& cpu) override;

  RefPtr<Notification> notification_;
  u64 bits_;
  u64 next_ns_ = 0;
  u64 period_ns_ = 0;
};

}  // namespace keel
