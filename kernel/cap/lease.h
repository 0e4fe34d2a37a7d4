// Lease: a node between a capability and one that was derived from it for a limited time. When the time comes, all
// below it is revoked, in bounded steps of its home CPU's work queue.
//
// Invariants   I1 in the tree it is a tombstone, without slot or rights: it goes with its last child (CapNode I2), and
//                 nothing is derived from it but the one capability.
//              I2 it is freed once, by step(), after it has left the tree and the timer queue.
// Locks        the tree's. Timer and steps belong to its home: the CPU that made it.
// Lifetime     keeps a reference to its object and to the group that pays.
// Costs        a lookup never sees it. One object of some 150 bytes; O(log timers) to make and to end.
// See          docs/subsystems/capabilities.md, lease_test.cc
#pragma once

#include "kernel/cap/node.h"
#include "kernel/core/timer_queue.h"

namespace keel {

class Lease final : public CapNode, public TimerEntry, public Work {
 public:
  // A child of `parent` that expires then. The caller links one capability below it, or gives it up.
  // Errors: no_memory, quota_exceeded, revoked, too_deep.
  static Result<Lease*> create(Cpu& cpu, KObject& object, CapNode& parent, ResourceGroup& payer, Deadline expiry);
  // Nothing could be linked below it.
  void give_up(Cpu& cpu);
  // Whoever takes it out of the tree says so; it may be freed at once.
  void retire(Cpu& cpu);
  Deadline expiry() const { return expiry_; }

 private:
  friend class ObjectMaker;
  Lease(Cpu& home, Deadline expiry) : home_(home), expiry_(expiry) {}
  ~Lease() override = default;
  void expired(Cpu& cpu) override { retire(cpu); }
  bool step(Cpu& cpu) override;

  Cpu& home_;
  Deadline expiry_;
  Atomic<bool> queued_{false};  // as work, once
};

}  // namespace keel
