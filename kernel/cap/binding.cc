#include "kernel/cap/binding.h"

#include "kernel/cap/tree.h"
#include "kernel/core/cpu.h"
#include "kernel/group/group.h"
#include "kernel/mm/heap.h"

namespace keel {

Result<void> BindingBase::bind(Cpu& cpu, KObject& target, CapNode* parent, ResourceGroup& payer, u64 data) {
  auto* node = TRY(make<BindingNode>(cpu, payer));
  node->holder = &payer;
  node->data = data;
  Result<void> linked = link_child(cpu, target, parent, *node, NodeKind::binding);
  if (!linked.has_value()) {
    destroy_object(cpu, payer, node);
    return linked;
  }
  payer.add_ref();
  release(cpu);
  node_ = node;
  return {};
}

void BindingBase::release(Cpu& cpu) {
  BindingNode* node = node_;
  if (node == nullptr) return;
  node_ = nullptr;
  KObject* target = node->object;
  auto* payer = static_cast<ResourceGroup*>(node->holder);
  if (!unlink(cpu, *node)) target->drop_ref();  // I1: a revocation left the reference to us
  destroy_object(cpu, *payer, node);
  payer->drop_ref();
}

}  // namespace keel
