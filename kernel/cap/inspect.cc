#include "kernel/cap/inspect.h"

#include "kernel/cap/lease.h"
#include "kernel/core/cpu.h"

namespace keel {
namespace {

constexpr u64 kMostChildren = 255;

u64 count_children(const CapNode& node) {
  u64 packed = 0;
  u64 looked = 0;
  for (const CapNode* child = node.first_child; child != nullptr && looked < kMostChildren; ++looked) {
    const u32 field = child->kind == NodeKind::slot                                     ? 0
                      : child->kind == NodeKind::region || child->kind == NodeKind::dma ? 1
                      : child->kind == NodeKind::binding                                ? 2
                                                                                        : 3;
    packed += u64{1} << (16 * field);
    child = child->next_sibling;
  }
  return packed;
}

}  // namespace

Result<NodeDescription> describe_node(Cpu& cpu, CapNode& from, u64 up) {
  KObject& object = *from.object;
  LockGuard guard(cpu, object.tree_lock());
  const CapNode* node = &from;
  while (node != nullptr && up-- > 0) node = node->parent;
  if (node == nullptr || !node->linked()) return Status::not_found;
  NodeDescription d;
  d.what = node->is_lease ? NodeWhat::lease : NodeWhat::deleted;
  d.kind = object.kind();
  d.depth = node->depth;
  d.object = object.id();
  d.children = count_children(*node);
  if (node->kind == NodeKind::slot) {
    const CapSlot& slot = *node->slot;
    const CapIndex index = slot.index();
    if (slot.is_live(index.value)) {  // not on its way out
      d.what = NodeWhat::capability;
      d.rights = slot.rights();
      d.process = static_cast<const CapSpace*>(node->holder)->holder_id();
      d.index = index;
      d.scope = slot.scope;
    }
  }
  for (; node != nullptr; node = node->parent) {
    if (!node->is_lease) continue;
    const Deadline expiry = static_cast<const Lease*>(node)->expiry();
    if (expiry.value < d.expiry.value) d.expiry = expiry;
  }
  return d;
}

}  // namespace keel
