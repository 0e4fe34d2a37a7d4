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
  Cpu& cpu = machine().work_cpu();
  cpu.work.push(cpu, *this);
}

bool KObject::step(Cpu& cpu) {
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
  if (last) on_zero_handles(cpu);
}

void KObject::add_revoked_region(CapNode& node) {
  node.next_sibling = revoked_regions_;
  revoked_regions_ = &node;
}

bool KObject::finish_revoked_region(Cpu& cpu) {
  CapNode* node = nullptr;
  {
    LockGuard guard(cpu, tree_lock_);
    node = revoked_regions_;
    if (node == nullptr) return true;
    revoked_regions_ = node->next_sibling;
    node->next_sibling = nullptr;
  }
  if (AddressSpace::unmap_region_node(cpu, *node)) {
    drop_ref();  // the node's; the region and its node are gone
    return true;
  }
  LockGuard guard(cpu, tree_lock_);
  add_revoked_region(*node);
  return false;
}

}  // namespace keel
