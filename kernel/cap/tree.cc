#include "kernel/cap/tree.h"

#include "kernel/cap/space.h"
#include "kernel/core/cpu.h"
#include "kernel/group/group.h"
#include "kernel/mm/address_space.h"
#include "kernel/mm/heap.h"

namespace keel {

void RetiredNodes::retire(Cpu& cpu, ResourceGroup& group, CapNode& node) {
  if (cpu.grace.is_over(cpu)) {
    destroy_object(cpu, group, &node);
    return;
  }
  group.add_ref();
  node.holder = &group;
  node.next_sibling = gathered_;
  gathered_ = &node;
  if (!under_way_) begin(cpu);
}

void RetiredNodes::begin(Cpu& cpu) {
  under_way_ = true;
  over_ = gathered_;
  gathered_ = nullptr;
  cpu.grace.retire(cpu, *this);
}

bool RetiredNodes::step(Cpu& cpu) {
  for (u32 i = 0; i < 32 && over_ != nullptr; ++i) {
    CapNode* node = over_;
    over_ = node->next_sibling;
    auto* group = static_cast<ResourceGroup*>(node->holder);
    destroy_object(cpu, *group, node);
    group->drop_ref();
  }
  if (over_ != nullptr) return false;
  under_way_ = false;
  if (gathered_ != nullptr) begin(cpu);
  return true;
}

namespace {

// Takes `node` out of its parent's list of children.
void detach(CapNode& node) {
  if (node.previous_sibling != nullptr) {
    node.previous_sibling->next_sibling = node.next_sibling;
  } else if (node.parent != nullptr) {
    node.parent->first_child = node.next_sibling;
  }
  if (node.next_sibling != nullptr) node.next_sibling->previous_sibling = node.previous_sibling;
  node.parent = node.next_sibling = node.previous_sibling = nullptr;
}

void attach(CapNode& parent, CapNode& child) {
  child.parent = &parent;
  child.previous_sibling = nullptr;
  child.next_sibling = parent.first_child;
  if (parent.first_child != nullptr) parent.first_child->previous_sibling = &child;
  parent.first_child = &child;
}

bool has_dying_ancestor(const CapNode* node) {
  for (; node != nullptr; node = node->parent) {
    if (node->dying) return true;
  }
  return false;
}

// A node that is the root of a revocation leaves its place: the revocation ends, done or not.
void forget_revocation(KObject& object, CapNode& node) REQUIRES(object.tree_lock()) {
  if (!node.dying) return;
  node.dying = false;
  object.end_revoke();
}

// Detaches `node` and then each tombstone above it that has lost its last child (I2). The tombstones are returned as a
// list through next_sibling, to be freed without the lock.
CapNode* remove_locked(KObject& object, CapNode& node) REQUIRES(object.tree_lock()) {
  CapNode* parent = node.parent;
  forget_revocation(object, node);
  detach(node);
  node.kind = NodeKind::unlinked;
  CapNode* freed = nullptr;
  while (parent != nullptr && parent->kind == NodeKind::tombstone && parent->first_child == nullptr) {
    CapNode* grandparent = parent->parent;
    detach(*parent);
    parent->kind = NodeKind::unlinked;
    parent->next_sibling = freed;
    freed = parent;
    parent = grandparent;
  }
  return freed;
}

void free_tombstones(Cpu& cpu, CapNode* list) {
  while (list != nullptr) {
    CapNode* next = list->next_sibling;
    auto* group = static_cast<ResourceGroup*>(list->holder);
    KObject* object = list->object;
    cpu.nodes.retire(cpu, *group, *list);
    group->drop_ref();
    object->drop_ref();
    list = next;
  }
}

void free_slot_node(Cpu& cpu, ResourceGroup& group, CapNode& node) {
  KObject* object = node.object;
  cpu.nodes.retire(cpu, group, node);
  object->drop_ref();
}

}  // namespace

Result<void> link_child(Cpu& cpu, KObject& object, CapNode* parent, CapNode& child, NodeKind kind) {
  LockGuard guard(cpu, object.tree_lock());
  return link_child_locked(object, parent, child, kind);
}

Result<void> link_child_locked(KObject& object, CapNode* parent, CapNode& child, NodeKind kind) {
  child.depth = 0;
  if (parent != nullptr) {
    if (!parent->linked()) return Status::revoked;
    if (object.revoking() > 0 && has_dying_ancestor(parent)) return Status::revoked;
    if (parent->depth + 1u > CapNode::kMaxDepth) return Status::too_deep;
    child.depth = u8(parent->depth + 1);
    attach(*parent, child);
  }
  child.object = &object;
  child.kind = kind;
  object.add_ref();
  return {};
}

Result<void> link_sibling(Cpu& cpu, CapNode& existing, CapNode& added) {
  KObject& object = *existing.object;
  LockGuard guard(cpu, object.tree_lock());
  if (!existing.linked()) return Status::revoked;
  if (object.revoking() > 0 && has_dying_ancestor(existing.parent)) return Status::revoked;
  added.object = &object;
  added.kind = existing.kind;
  added.depth = existing.depth;
  if (existing.parent != nullptr) attach(*existing.parent, added);
  object.add_ref();
  return {};
}

bool unlink(Cpu& cpu, CapNode& node) {
  KObject* object = node.object;
  CapNode* freed = nullptr;
  {
    LockGuard guard(cpu, object->tree_lock());
    if (!node.linked()) return false;
    freed = remove_locked(*object, node);
  }
  free_tombstones(cpu, freed);
  object->drop_ref();
  return true;
}

bool release_slot_node(Cpu& cpu, CapNode& node) {
  KObject* object = node.object;
  ResourceGroup* group = nullptr;
  CapNode* freed = nullptr;
  {
    LockGuard guard(cpu, object->tree_lock());
    if (!node.linked()) return false;
    group = &static_cast<CapSpace*>(node.holder)->group();
    if (node.first_child != nullptr) {
      group->add_ref();
      node.holder = group;
      node.kind = NodeKind::tombstone;
      forget_revocation(*object, node);
      return true;
    }
    freed = remove_locked(*object, node);
  }
  free_tombstones(cpu, freed);
  free_slot_node(cpu, *group, node);
  return true;
}

Result<void> begin_revoke(Cpu& cpu, CapNode& root) {
  LockGuard guard(cpu, root.object->tree_lock());
  if (root.kind != NodeKind::slot) return Status::revoked;  // given up meanwhile: a tombstone's mark would stay
  if (!root.dying) {
    root.dying = true;
    root.object->begin_revoke();
  }
  return {};
}

bool revoke_step(Cpu& cpu, CapNode& root, u32 leaves) {
  KObject& object = *root.object;
  if (!object.finish_revoked_region(cpu)) return false;
  while (leaves-- > 0) {
    CapNode* leaf = &root;
    NodeKind kind = NodeKind::unlinked;
    CapNode* freed = nullptr;
    bool cleared = false;
    RefPtr<KObject> holder;  // keeps the space of a slot alive
    {
      LockGuard guard(cpu, object.tree_lock());
      while (leaf->first_child != nullptr) leaf = leaf->first_child;
      if (leaf == &root) return !object.has_revoked_regions();
      kind = leaf->kind;
      if (kind == NodeKind::slot) holder = RefPtr<KObject>(static_cast<CapSpace*>(leaf->holder)->owner());
      freed = remove_locked(object, *leaf);
      // Under the lock, so that another revocation that finds no leaf any more knows that all slots are cleared.
      if (kind == NodeKind::slot) cleared = static_cast<CapSpace*>(leaf->holder)->clear_revoked(*leaf);
      if (kind == NodeKind::region) object.add_revoked_region(*leaf);
    }
    free_tombstones(cpu, freed);
    if (kind == NodeKind::slot) {
      auto* space = static_cast<CapSpace*>(leaf->holder);
      if (cleared) space->retire_revoked(cpu, *leaf);
      free_slot_node(cpu, space->group(), *leaf);
    } else if (kind == NodeKind::region) {
      if (!object.finish_revoked_region(cpu)) return false;
    } else {
      object.drop_ref();  // a DMA mapping keeps its pins until its domain is released
    }
  }
  return false;
}

void end_revoke(Cpu& cpu, CapNode& root) {
  KObject& object = *root.object;
  {
    LockGuard guard(cpu, object.tree_lock());
    forget_revocation(object, root);
  }
  object.post(cpu, KObject::kRevoked);
}

bool finish_revoke(Cpu& cpu, CapNode& root, u32 leaves) {
  {
    LockGuard guard(cpu, root.object->tree_lock());
    if (!root.dying) return true;
  }
  if (!revoke_step(cpu, root, leaves)) return false;
  end_revoke(cpu, root);
  return true;
}

Origin origin_of(Cpu& cpu, CapNode& node) {
  LockGuard guard(cpu, node.object->tree_lock());
  for (CapNode* n = node.parent; n != nullptr; n = n->parent) {
    if (n->kind == NodeKind::slot) return {node.depth, static_cast<CapSpace*>(n->holder)->holder_id()};
  }
  return {node.depth, 0};
}

}  // namespace keel
