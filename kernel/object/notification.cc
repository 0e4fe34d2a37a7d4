#include "kernel/object/notification.h"

#include "kernel/core/cpu.h"
#include "kernel/ipc/port.h"
#include "kernel/mm/heap.h"

namespace keel {

Result<RefPtr<Notification>> Notification::create(Cpu& cpu, ResourceGroup& group) {
  return RefPtr<Notification>::adopt(TRY(make<Notification>(cpu, group, group)));
}

void Notification::destroy(Cpu& cpu) { destroy_object(cpu, group(), this); }

u64 Notification::take(Cpu& cpu) {
  u64 bits = bits_;
  bits_ = 0;
  if (bits != 0 && observer_ != nullptr) observer_->set_pending(cpu, false);
  return bits;
}

void Notification::signal(Cpu& cpu, u64 bits) {
  if (home() != &cpu) {
    remote_bits_.fetch_or(bits, kRelaxed);  // post() and arrive() order it
    post(cpu, kOwnEvent);
    return;
  }
  bits |= bits_;
  if (bits == 0) return;
  if (Thread* waiter = waiters_.front()) {
    waiter->end_wait(cpu, Status::ok, bits);
    return;
  }
  if (observer_ != nullptr && observer_->deliver_signal(cpu, bits)) return;
  const bool first = bits_ == 0;
  bits_ = bits;
  if (observer_ != nullptr && first) observer_->set_pending(cpu, true);  // it may have let go of us
}

void Notification::invite(Cpu& cpu, Cpu& to) {
  invited_.store(&to, kRelease);  // post() and arrive() order it, too
  post(cpu, kOwnEvent);
}

void Notification::on_event(Cpu& cpu) {
  signal(cpu, remote_bits_.exchange(0, kRelaxed));
  Cpu* to = invited_.load(kAcquire);
  if (to == nullptr) return;
  if (is_quiet()) set_home(*to);
  invited_.store(nullptr, kRelease);  // after the move: whoever sees it sees where the notification is
}

void Notification::on_zero_handles(Cpu& cpu) {
  check_observer(cpu);
  while (Thread* waiter = waiters_.front()) waiter->abort_wait(cpu, Status::revoked);
}

Result<void> Notification::wait(Cpu& cpu, Thread& thread, CapIndex through, Deadline deadline) {
  if (thread.take_cancel()) return Status::cancelled;
  if (deadline == kPoll) return Status::timed_out;
  thread.begin_wait(cpu, WaitKind::notification, this, through, deadline);
  waiters_.push_back(thread);
  return {};
}

void Notification::wake_revoked(Cpu& cpu) {
  check_observer(cpu);
  wake_revoked_waiters(cpu, waiters_);
}

}  // namespace keel
