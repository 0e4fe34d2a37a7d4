// Notification: a word of sticky bits to wait for. Interrupts, timers and deaths end here.
//
// Invariants   I1 bits_ == 0 while a thread waits, here or as a receiver on the port that it is bound to.
//              I2 its observer, if it has one, has been told whether bits_ != 0.
// Locks        none: like its waiters it belongs to one CPU; a signal from elsewhere is left in remote_bits_ and
// posted. Lifetime     a wait does not keep the notification alive: when the last capability goes, waits end with
// Revoked. Costs        signal without a waiter: one OR.
#pragma once

#include <utility>

#include "kernel/core/thread.h"
#include "kernel/object/observer.h"

namespace keel {

class Notification final : public Observable {
 public:
  static constexpr ObjectKind kKind = ObjectKind::notification;
  static Result<RefPtr<Notification>> create(Cpu& cpu, ResourceGroup& group);

  // Sets bits; wakes one waiter, which gets and clears all that are set. From any CPU.
  void signal(Cpu& cpu, u64 bits);
  // Takes and clears what is set; 0 if nothing is.
  u64 take(Cpu& cpu);
  u64 bits() const { return bits_; }
  bool is_pending() const override { return bits_ != 0; }
  // For the fast paths (kernel/ipc/fast_events.cc): signal() when nobody waits and take(), both with no observer; the
  // thread that a signal would wake; one more that waits.
  bool is_quiet() const { return waiters_.empty() && observer_ == nullptr; }
  bool has_waiters() const { return !waiters_.empty(); }
  void add_quietly(u64 bits) { bits_ |= bits; }
  u64 take_quietly() { return std::exchange(bits_, 0); }
  Thread* first_waiter() { return waiters_.front(); }
  void add_waiter(Thread& thread) { waiters_.push_back(thread); }
  // Queues the current thread. Errors: cancelled, timed_out (deadline 0).
  Result<void> wait(Cpu& cpu, Thread& thread, CapIndex through, Deadline deadline);

  // Asks it, from elsewhere, to move to a CPU; it does if nobody waits. is_invited() until it has decided.
  void invite(Cpu& cpu, Cpu& to);
  bool is_invited() const { return invited_.load(kAcquire) != nullptr; }
  void on_event(Cpu& cpu) override;
  void on_zero_handles(Cpu& cpu) override;
  void wake_revoked(Cpu& cpu) override;

 private:
  friend class ObjectMaker;
  explicit Notification(ResourceGroup& group) : Observable(ObjectKind::notification, group) {}
  void destroy(Cpu& cpu) override;

  u64 bits_ = 0;
  Atomic<u64> remote_bits_{0};
  Atomic<Cpu*> invited_{nullptr};
  WaitQueue waiters_;
};

}  // namespace keel
