// Interrupt: one interrupt line or message as an object. A level-triggered line is masked when it fires, until its
// driver acknowledges; a message is only signalled.
//
// Invariants   I1 the vector is this object's from creation to destruction. A line is masked before its vector is given
//                 up; a device that goes on writing its message reaches whoever has the vector next, so drivers take it
//                 as a hint to look.
// Locks        none for the object: an interrupt is delivered to its home CPU and bound there. The table of vectors has
//              lock_ (rank heap) for changes; interrupt entry reads it without.
#pragma once

#include "kernel/cap/binding.h"

namespace keel {

class Notification;

enum class Trigger : u8 { edge, level };
enum class Polarity : u8 { active_high, active_low };

class Interrupt final : public KObject {
 public:
  static constexpr ObjectKind kKind = ObjectKind::interrupt;
  static constexpr u64 kMessage = ~u64{0};  // line() of a message-signalled interrupt

  // Errors: not_supported (no such line), busy (the line has an object, or no vector is left), no_memory,
  // quota_exceeded.
  static Result<RefPtr<Interrupt>> create_line(Cpu& cpu, ResourceGroup& group, u64 line, Trigger trigger,
                                               Polarity polarity);
  static Result<RefPtr<Interrupt>> create_message(Cpu& cpu, ResourceGroup& group);

  // From the interrupt entry.
  void fire(Cpu& cpu);
  // Errors: no_memory, quota_exceeded, revoked, too_deep; an earlier binding stays then.
  Result<void> bind(Cpu& cpu, const BindRequest<Notification>& target);
  // From any CPU.
  void acknowledge(Cpu& cpu);
  // For the fast path: the bits, if signalling them to the target is all that fire() does, or 0; and that it did.
  u64 plain_bits() const { return trigger_ == Trigger::edge ? notification_.data() : 0; }
  const Binding<Notification>& target() const { return notification_; }
  void count_plain() { ++count_; }
  u64 line() const { return line_; }
  u8 vector() const { return vector_; }
  u64 count() const { return count_; }
  Trigger trigger() const { return trigger_; }
  void on_zero_handles(Cpu& cpu) override;

 private:
  friend class ObjectMaker;
  Interrupt(ResourceGroup& group, u64 line, Trigger trigger);
  ~Interrupt() override;
  void unpublish(Cpu& cpu) override;
  void destroy(Cpu& cpu) override;

  Binding<Notification> notification_;
  u64 line_;
  u64 count_ = 0;
  u8 vector_ = 0;
  Trigger trigger_;
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
