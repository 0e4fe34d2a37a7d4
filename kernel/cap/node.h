// CapNode: one derivation. Whatever outlives a call and gives access to an object is a node in that object's tree: a
// capability in a slot, a mapped region, a DMA mapping, a binding (binding.h). So revoking reaches all.
//
// Invariants   I1 all nodes of a tree name the same object; depth(child) = depth(parent) + 1 <= kMaxDepth.
//              I2 a tombstone has children and no holder; it goes with its last child. So does a lease (lease.h).
//              I3 a linked node holds a reference to its object.
// Locks        every field but `holder` of a slot node is guarded by object->tree_lock().
// Costs        64 bytes. link and unlink are O(1) (unlink may free a chain of <= 32 tombstones).
#pragma once

#include "kernel/object/object.h"

namespace keel {

enum class NodeKind : u8 { unlinked, slot, region, dma, binding, tombstone };

struct CapSlot;

struct CapNode {
  static constexpr u32 kMaxDepth = 32;

  KObject* object = nullptr;
  CapNode* parent = nullptr;
  CapNode* first_child = nullptr;
  CapNode* next_sibling = nullptr;
  CapNode* previous_sibling = nullptr;
  void* holder = nullptr;  // by kind: CapSpace, Region, DmaMapping; binding, tombstone: the group that pays
  union {
    CapSlot* slot = nullptr;  // slot nodes: where the holder has the capability
    u64 data;                 // bindings: what their owner wants with it
  };
  NodeKind kind = NodeKind::unlinked;
  u8 depth = 0;
  bool dying = false;     // the root of a revocation in progress
  bool is_lease = false;  // a Lease, whose kind is tombstone

  bool linked() const { return kind != NodeKind::unlinked; }
};
static_assert(sizeof(CapNode) == 64);

// RetiredNodes: of one CPU, nodes out of their trees that others may still be reading; freed after a grace period.
class RetiredNodes final : public Work {
 public:
  void retire(Cpu& cpu, ResourceGroup& group, CapNode& node);
  bool step(Cpu& cpu) override;

 private:
  void begin(Cpu& cpu);

  CapNode* gathered_ = nullptr;  // for the next period
  CapNode* over_ = nullptr;      // whose period is under way, or over
  bool under_way_ = false;
};

}  // namespace keel
