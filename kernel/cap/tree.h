// The derivation tree of an object: joining and leaving it. What kernel/mm needs of it; the rest is in tree.cc's owner.
#pragma once

#include "base/result.h"
#include "kernel/cap/node.h"

namespace keel {

// Makes `child` (unlinked; holder and slot set by the caller) a child of `parent`, or a root of the tree when parent is
// null, under object.tree_lock(). On success child.kind == kind and the node holds a reference to the object.
// Errors: revoked (an ancestor is dying, or the parent is unlinked), too_deep.
Result<void> link_child(Cpu& cpu, KObject& object, CapNode* parent, CapNode& child, NodeKind kind);

// Makes `added` a sibling of `existing`, a node of the same kind under the same parent: half of a region that is split.
// Errors: revoked (`existing` was taken out by a revocation meanwhile).
Result<void> link_sibling(Cpu& cpu, CapNode& existing, CapNode& added);

// Takes the node out of its tree and drops its reference to the object. Exactly one of several callers gets true: it
// owns the holder from then on. False: a revocation was first, and will finish the holder's work.
bool unlink(Cpu& cpu, CapNode& node);

}  // namespace keel
