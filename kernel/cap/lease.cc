#include "kernel/cap/lease.h"

#include "kernel/cap/audit.h"
#include "kernel/cap/tree.h"
#include "kernel/core/cpu.h"
#include "kernel/group/group.h"
#include "kernel/mm/heap.h"

namespace keel {

constexpr u32 kLeavesPerStep = 16;

Result<Lease*> Lease::create(Cpu& cpu, KObject& object, CapNode& parent, ResourceGroup& payer, Deadline expiry) {
  auto* lease = TRY(make<Lease>(cpu, payer, cpu, expiry));
  lease->holder = &payer;
  lease->is_lease = true;
  Result<void> linked = link_child(cpu, object, &parent, *lease, NodeKind::tombstone);
  if (!linked.has_value()) {
    destroy_object(cpu, payer, lease);
    return linked.status();
  }
  payer.add_ref();
  object.add_ref();
  cpu.timers.add(cpu, *lease, expiry);
  return lease;
}

void Lease::give_up(Cpu& cpu) {
  if (unlink(cpu, *this)) retire(cpu);
}

void Lease::retire(Cpu& cpu) {
  if (!queued_.exchange(true, kAcqRel)) cpu.send(home_, *this);  // pairs with itself: one of several pushes
}

bool Lease::step(Cpu& cpu) {
  KObject* const kept = object;
  // Out of the tree already: its last child went, or a revocation from above took it.
  if (begin_revoke(cpu, *this).has_value()) {
    if (!revoke_step(cpu, *this, kLeavesPerStep)) return false;
    // It has been dying until here, so nothing was linked below it.
    if (unlink(cpu, *this)) {
      audit(cpu, AuditEvent::expire, 0, 0, *kept, 0);
      kept->post(cpu, KObject::kRevoked);
    }
  }
  TimerQueue::remove(cpu, *this);  // I2
  auto* payer = static_cast<ResourceGroup*>(holder);
  destroy_object(cpu, *payer, this);
  payer->drop_ref();
  kept->drop_ref();
  return true;
}

}  // namespace keel
