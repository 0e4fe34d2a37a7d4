// Interrupt: one interrupt line or message as an object. A level-triggered line is masked when it fires, until its
// driver acknowledges; a message is only signalled.
//
// A line goes to the CPU of the notification that it is bound to: the object moves there when it is bound, and follows
// when it fires and finds it elsewhere (a notification moves to who waits for it). A message goes to the CPU that
// created the object: its address is in the device.
//
// kBurst interrupts in less than kBurstNs are a storm: for kPauseNs the line is masked, whoever acknowledges, and a
// message, which only the device could stop, tells nobody; then the notification is signalled, so nothing is lost. (The
// burst after a pause is never a storm: the pause counts as part of it.)
//
// Invariants   I1 the vector is this object's from creation to destruction. A line is masked before its vector is given
//                 up; a device that goes on writing its message reaches whoever has the vector next, so drivers take it
//                 as a hint to look.
//              I2 while it is held back it is in its home's timer queue, stays there, and has no plain bits.
// Locks        none for the object: an interrupt belongs to its home CPU and is bound there; one that arrives
// elsewhere,
//              for it has just moved, is posted. The table of vectors has lock_ (rank heap) for changes; interrupt
//              entry reads it without.
// Costs        the clock is read once in kBurst interrupts; storms need no other measure.
// See          object_test.cc, tests/system/storm
#pragma once

#include "kernel/cap/binding.h"
#include "kernel/core/timer_queue.h"

namespace keel {

class Notification;

enum class Trigger : u8 { edge, level };
enum class Polarity : u8 { active_high, active_low };

class Interrupt final : public KObject, public TimerEntry {
 public:
  static constexpr ObjectKind kKind = ObjectKind::interrupt;
  static constexpr u64 kMessage = ~u64{0};  // line() of a message-signalled interrupt
  static constexpr u64 kBurst = 1024, kBurstNs = 2'000'000, kPauseNs = 100'000'000;

  // Errors: not_supported (no such line), busy (the line has an object, or no vector is left), no_memory,
  // quota_exceeded.
  static Result<RefPtr<Interrupt>> create_line(Cpu& cpu, ResourceGroup& group, u64 line, Trigger trigger,
                                               Polarity polarity);
  static Result<RefPtr<Interrupt>> create_message(Cpu& cpu, ResourceGroup& group);

  // From the interrupt entry, on any CPU.
  void fire(Cpu& cpu);
  // Errors: no_memory, quota_exceeded, revoked, too_deep; an earlier binding stays then.
  Result<void> bind(Cpu& cpu, const BindRequest<Notification>& target);
  // From any CPU.
  void acknowledge(Cpu& cpu);
  // For the fast path: the bits, if signalling them to the target is all that fire() does, or 0; and that it did.
  u64 plain_bits() const { return plain_left_ != 0 ? notification_.data() : 0; }
  const Binding<Notification>& target() const { return notification_; }
  void count_plain() { --plain_left_; }
  u64 line() const { return line_; }
  u8 vector() const { return vector_; }
  u64 count() const { return count_ - plain_left_; }
  bool is_held_back() const { return held_back_.load(kRelaxed); }
  u64 storms() const { return storms_; }
  Trigger trigger() const { return trigger_; }
  void on_event(Cpu& cpu) override;
  void on_zero_handles(Cpu& cpu) override;

 private:
  friend class ObjectMaker;
  Interrupt(ResourceGroup& group, u64 line, Trigger trigger);
  ~Interrupt() override;
  void unpublish(Cpu& cpu) override;
  void destroy(Cpu& cpu) override;
  void expired(Cpu& cpu) override;
  void hold_back(Cpu& cpu);
  void follow(Cpu& cpu);
  void allow_plain(u64 count);

  Binding<Notification> notification_;
  u64 line_;
  Trigger trigger_;
  u64 plain_left_ = 0;  // how many the fast path may take: none of level-triggered ones, or while held back
  u64 count_ = 0;       // those are counted already
  u64 burst_began_ns_ = 0;
  u64 storms_ = 0;
  Atomic<bool> held_back_{false};
  u8 vector_ = 0;
};

// Which object each vector belongs to.
class InterruptTable {
 public:
  static constexpr u32 kFirstVector = 0x30;
  static constexpr u32 kVectors = 0xc0;  // up to 0xef; above are the kernel's own

  // Errors: busy (the line has an object, or all vectors are taken).
  Result<u8> allocate(Cpu& cpu, Interrupt& interrupt);
  void release(u8 vector) { objects_[vector - kFirstVector].store(nullptr, kRelease); }
  Interrupt* at(u32 vector) const {
    return vector - kFirstVector < kVectors ? objects_[vector - kFirstVector].load(kAcquire) : nullptr;
  }

 private:
  SpinLock lock_{LockRank::interrupts, "interrupt vectors"};
  Atomic<Interrupt*> objects_[kVectors];
};

}  // namespace keel
