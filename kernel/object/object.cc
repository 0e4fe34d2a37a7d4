#include "kernel/object/object.h"

#include "kernel/cap/node.h"
#include "kernel/core/cpu.h"
#include "kernel/core/machine.h"
#include "kernel/group/group.h"
#include "kernel/mm/address_space.h"

namespace keel {

KObject::KObject(ObjectKind kind, ResourceGroup& group) : KObject(kind, group, group.machine()) { group.add_ref(); }

// No reference of its own: that would keep the group alive for ever.
KObject::KObject(ObjectKind kind, ResourceGroup& group, Machine& machine)
    : kind_(kind), group_(&group), id_(machine.next_id()) {}

KObject::~KObject() = default;

Machine& KObject::machine() const { return group_->machine(); }

void KObject::drop_refs(u32 count) {
  // Pairs with itself: the last to drop sees all that the others did to the object.
  if (refs_.fetch_sub(count, kAcqRel) != count) return;
  // Whoever borrows it may take a reference and drop it again, while it is on its way already.
  if (end_.exchange(End::orphaned, kAcqRel) == End::none) machine().orphans.add(*this);
}

bool KObject::step(Cpu& cpu) {
  if (end_.load(kRelaxed) != End::releasing) {
    // Not reached by anything but borrows any more: once those are over, a count of zero stays zero.
    const bool waited = end_.exchange(End::retired, kAcqRel) == End::retired;
    if (!waited) {
      if (refs_.load(kAcquire) == 0) unpublish(cpu);
      cpu.grace.retire(cpu, *this);
      return true;
    }
    if (refs_.load(kAcquire) != 0) {
      // A borrower kept it. From the store on its next last reference is ours no more; one in between is.
      end_.store(End::none, kSeqCst);
      if (refs_.load(kSeqCst) != 0 || end_.exchange(End::orphaned, kSeqCst) != End::none) return true;
      return false;
    }
    end_.store(End::releasing, kRelaxed);
  }
  if (Cpu* place = release_place(cpu); place != nullptr && place != &cpu) {
    cpu.send(*place, *this);
    return true;
  }
  if (!release_step(cpu)) return false;
  ResourceGroup* group = group_;
  bool own_group = static_cast<KObject*>(group) == this;
  destroy(cpu);
  if (!own_group) group->drop_ref();
  return true;
}

void KObject::drop_handles(Cpu& cpu, std::span<const Rights> rights) {
  const u32 count = u32(rights.size());
  const bool last = handles_.fetch_sub(count, kAcqRel) == count;  // pairs with itself, as in drop_refs()
  if (counts_rights_) {
    for (Rights r : rights) on_handle_dropped(cpu, r);
  }
  if (last) post(cpu, kZeroHandles);
}

void KObject::post(Cpu& cpu, u32 events) {
  if (is_local(cpu)) {
    act_on(cpu, events);
  } else if (posted_.fetch_or(events, kAcqRel) == 0) {  // pairs with arrive()
    add_ref();
    cpu.send(*home(), *this);
  }
}

void KObject::post_again(Cpu& cpu, u32 events) {
  if (posted_.fetch_or(events, kAcqRel) != 0) return;  // pairs with arrive()
  add_ref();
  cpu.send(is_homed(kind_) ? *home() : cpu, *this);
}

void KObject::arrive(Cpu& cpu) {
  if (end_.load(kRelaxed) == End::releasing) return cpu.work.push(*this);
  if (!is_local(cpu)) {  // it moved on meanwhile
    cpu.send(*home(), *this);
    return;
  }
  act_on(cpu, posted_.exchange(0, kAcqRel));  // pairs with post()
  drop_ref();
}

void KObject::act_on(Cpu& cpu, u32 events) {
  if ((events & kOwnEvent) != 0) on_event(cpu);
  if ((events & kRevoked) != 0) wake_revoked(cpu);
  if ((events & kZeroHandles) != 0) on_zero_handles(cpu);
}

void KObject::add_revoked_region(CapNode& node) {
  node.next_sibling = revoked_regions_;
  revoked_regions_ = &node;
}

bool KObject::finish_revoked_region(Cpu& cpu) {
  CapNode* node = nullptr;
  bool all = false;
  {
    LockGuard guard(cpu, tree_lock_);
    node = revoked_regions_;
    if (node == nullptr) return regions_in_hand_ == 0;
    revoked_regions_ = node->next_sibling;
    node->next_sibling = nullptr;
    ++regions_in_hand_;
  }
  const bool unmapped = AddressSpace::unmap_region_node(cpu, *node);
  {
    LockGuard guard(cpu, tree_lock_);
    --regions_in_hand_;
    if (!unmapped) add_revoked_region(*node);
    all = revoked_regions_ == nullptr && regions_in_hand_ == 0;
  }
  if (unmapped) drop_ref();  // the node's; the region and its node are gone
  return all;
}

}  // namespace keel
