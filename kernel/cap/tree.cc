#include "kernel/cap/tree.h"

#include "kernel/cap/binding.h"
#include "kernel/cap/lease.h"
#include "kernel/cap/space_inline.h"
#include "kernel/core/machine.h"
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

// A node that is the root of a revocation leaves its place: the revocation ends, done or not.
void forget_revocation(KObject& object, CapNode& node) REQUIRES(object.tree_lock()) {
  if (!node.dying) return;
  node.dying = false;
  object.end_revoke();
}

// Detaches `node` if it is a tombstone that has lost its last child, and each such tombstone above it (I2). They are
// put before `freed`, a list through next_sibling, to be freed without the lock.
CapNode* remove_tombstones(CapNode* node, CapNode* freed) {
  while (node != nullptr && node->kind == NodeKind::tombstone && node->first_child == nullptr && !node->dying) {
    CapNode* parent = node->parent;
    detach(*node);
    node->kind = NodeKind::unlinked;
    node->next_sibling = freed;
    freed = node;
    node = parent;
  }
  return freed;
}

// Detaches `node` and the tombstones above it that this leaves without children: the list of those.
CapNode* remove_locked(KObject& object, CapNode& node) REQUIRES(object.tree_lock()) {
  CapNode* parent = node.parent;
  forget_revocation(object, node);
  detach(node);
  node.kind = NodeKind::unlinked;
  return remove_tombstones(parent, nullptr);
}

void free_tombstones(Cpu& cpu, CapNode* list) {
  while (list != nullptr) {
    CapNode* next = list->next_sibling;
    KObject* object = list->object;
    if (list->is_lease) {
      static_cast<Lease*>(list)->retire(cpu);
    } else {
      auto* group = static_cast<ResourceGroup*>(list->holder);
      cpu.nodes.retire(cpu, *group, *list);
      group->drop_ref();
    }
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

Result<bool> begin_revoke(Cpu& cpu, CapNode& root) {
  LockGuard guard(cpu, root.object->tree_lock());
  // Given up meanwhile: a tombstone's mark would stay. (A lease is one that ends itself.)
  if (root.kind != NodeKind::slot && !(root.is_lease && root.linked())) return Status::revoked;
  if (root.dying) return false;
  root.dying = true;
  root.object->begin_revoke();
  return true;
}

namespace {

// What a locked step of a revocation has taken away and still has to be told to others.
struct Taken {
  static constexpr u32 kMost = 16;
  u32 count = 0;  // nodes
  u32 handles = 0;
  Rights rights[kMost];
  CapNode* tombstones = nullptr;
};

// The next node to go, or null.
CapNode* next_leaf(CapNode& root) REQUIRES(root.object->tree_lock()) {
  CapNode* leaf = root.first_child;
  if (leaf == nullptr) return nullptr;
  while (leaf->first_child != nullptr) leaf = leaf->first_child;
  return leaf;
}

// Takes leaves away that are capabilities in slots, up to `most`. Stops before one that is not.
void take_slots(Cpu& cpu, KObject& object, CapNode& root, u32 most, Taken& taken) REQUIRES(object.tree_lock()) {
  ResourceGroup* payer = nullptr;
  u64 charge = 0;
  for (; taken.count < most; ++taken.count) {
    root.object->tree_lock().assert_held();
    CapNode* leaf = next_leaf(root);
    if (leaf == nullptr || leaf->kind != NodeKind::slot) break;
    auto* space = static_cast<CapSpace*>(leaf->holder);
    CapNode* parent = leaf->parent;
    forget_revocation(object, *leaf);
    parent->first_child = leaf->next_sibling;  // it is the first: detach() is shorter
    if (leaf->next_sibling != nullptr) leaf->next_sibling->previous_sibling = nullptr;
    taken.tombstones = remove_tombstones(parent, taken.tombstones);
    bool over = false;
    if (std::optional<Rights> rights = space->take_revoked(cpu, *leaf, over)) taken.rights[taken.handles++] = *rights;
    if (payer != &space->group()) [[unlikely]] {
      if (payer != nullptr) payer->uncharge(Resource::kernel_bytes, charge);
      payer = &space->group();
      charge = 0;
    }
    if (over) [[likely]] {
      charge += KernelHeap::charge_of<sizeof(CapNode)>();
      cpu.machine.heap.free_small_charged<sizeof(CapNode)>(cpu, leaf);
    } else {
      leaf->kind = NodeKind::unlinked;
      cpu.nodes.retire(cpu, space->group(), *leaf);
    }
  }
  if (payer != nullptr) payer->uncharge(Resource::kernel_bytes, charge);  // alive: see CapSpace::take_revoked()
}

}  // namespace

bool revoke_step(Cpu& cpu, CapNode& root, u32 leaves) {
  KObject& object = *root.object;
  if (!object.finish_revoked_region(cpu)) return false;
  while (leaves > 0) {
    Taken taken;
    CapNode* other = nullptr;
    NodeKind kind = NodeKind::unlinked;
    {
      LockGuard guard(cpu, object.tree_lock());
      take_slots(cpu, object, root, leaves < Taken::kMost ? leaves : Taken::kMost, taken);
      leaves -= taken.count;
      if (taken.count == 0) {
        root.object->tree_lock().assert_held();
        other = next_leaf(root);
        if (other == nullptr) return !object.has_revoked_regions();
        kind = other->kind;
        taken.tombstones = remove_locked(object, *other);
        if (kind == NodeKind::region) object.add_revoked_region(*other);
        if (kind == NodeKind::binding) BindingBase::revoke(*other);  // now its owner's alone
        if (kind == NodeKind::tombstone) {                           // a lease to which nothing was linked yet
          other->next_sibling = taken.tombstones;
          taken.tombstones = other;
        }
        --leaves;
      }
    }
    free_tombstones(cpu, taken.tombstones);
    if (taken.handles > 0) object.drop_handles(cpu, {taken.rights, taken.handles});
    if (taken.count > 0) {
      object.drop_refs(taken.count);
    } else if (kind == NodeKind::region) {
      if (!object.finish_revoked_region(cpu)) return false;
    } else if (kind == NodeKind::dma) {
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
