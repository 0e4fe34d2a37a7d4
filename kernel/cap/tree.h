// The derivation tree of an object: joining it, leaving it, taking all of a subtree away.
//
// Revocation (docs/subsystems/capabilities.md) marks the root dying, then takes leaves out a few at a time. While
// object.revoking() is non-zero every link checks its ancestors, so a racing derivation is either found in the subtree
// or fails with `revoked`, and the work is finite.
#pragma once

#include "base/result.h"
#include "kernel/cap/node.h"

namespace keel {

// Makes `child` (unlinked; holder and slot set by the caller) a child of `parent`, or a root of the tree when parent is
// null, under object.tree_lock(). On success child.kind == kind and the node holds a reference to the object.
// Errors: revoked (an ancestor is dying, or the parent is unlinked), too_deep.
Result<void> link_child(Cpu& cpu, KObject& object, CapNode* parent, CapNode& child, NodeKind kind);
inline Result<void> link_child_locked(KObject& object, CapNode* parent, CapNode& child, NodeKind kind)
    REQUIRES(object.tree_lock());

// Makes `added` a sibling of `existing`, a node of the same kind under the same parent: half of a region that is split.
// Errors: revoked (`existing` was taken out by a revocation meanwhile).
Result<void> link_sibling(Cpu& cpu, CapNode& existing, CapNode& added);

// Takes the node out of its tree and drops its reference to the object. Exactly one of several callers gets true: it
// owns the holder from then on. False: a revocation was first, and will finish the holder's work.
// A slot node that has children must be released with release_slot_node() instead.
bool unlink(Cpu& cpu, CapNode& node);

// A slot or message gives its node up: without children it is unlinked and freed, with children it stays as a tombstone
// until the last of them goes. False: a revocation was first, and frees the node.
bool release_slot_node(Cpu& cpu, CapNode& node);

// Takes away what was derived from `root`, at most `leaves` nodes; true when nothing is left. The caller holds `root`
// (a live slot node) and calls again until true; between calls the kernel may be preempted.
// begin_revoke marks, and answers whether it was the first to; end_revoke ends.
Result<bool> begin_revoke(Cpu& cpu, CapNode& root);
bool revoke_step(Cpu& cpu, CapNode& root, u32 leaves);
void end_revoke(Cpu& cpu, CapNode& root);
// Goes on with the revocation of which the node is the root, if there is one: whoever takes such a capability out of
// its slot finishes it before. True when there is none (any more).
bool finish_revoke(Cpu& cpu, CapNode& root, u32 leaves);

// How many generations `node` is from its root, and the process that holds its nearest living ancestor (0: the kernel).
struct Origin {
  u32 depth = 0;
  u64 from_process = 0;
};
Origin origin_of(Cpu& cpu, CapNode& node);

// --- In line: deriving is nearly as frequent as calling.

inline void attach(CapNode& parent, CapNode& child) {
  child.parent = &parent;
  child.previous_sibling = nullptr;
  child.next_sibling = parent.first_child;
  if (parent.first_child != nullptr) parent.first_child->previous_sibling = &child;
  parent.first_child = &child;
}
inline bool has_dying_ancestor(const CapNode* node) {
  for (; node != nullptr; node = node->parent) {
    if (node->dying) return true;
  }
  return false;
}

[[gnu::always_inline]] inline Result<void> link_child_locked(KObject& object, CapNode* parent, CapNode& child,
                                                             NodeKind kind) {
  child.depth = 0;
  if (parent != nullptr) {
    if (!parent->linked()) return Status::revoked;
    if (object.revoking() > 0 && has_dying_ancestor(parent)) [[unlikely]]
      return Status::revoked;
    if (parent->depth + 1u > CapNode::kMaxDepth) return Status::too_deep;
    child.depth = u8(parent->depth + 1);
    attach(*parent, child);
  }
  child.object = &object;
  child.kind = kind;
  object.add_ref();
  return {};
}

}  // namespace keel
