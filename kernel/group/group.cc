#include "kernel/group/group.h"

#include "kernel/core/machine.h"

namespace keel {

ResourceGroup::ResourceGroup(Machine& machine, void*) : KObject(ObjectKind::group, *this, machine), machine_(machine) {}

ResourceGroup::ResourceGroup(Machine& machine, ResourceGroup& parent)
    : KObject(ObjectKind::group, parent), machine_(machine), parent_(parent), depth_(parent.depth_ + 1) {}

Result<RefPtr<ResourceGroup>> ResourceGroup::create(Cpu& cpu, ResourceGroup& parent) {
  if (parent.depth_ + 1 >= kMaxDepth) return Status::too_deep;
  return RefPtr<ResourceGroup>::adopt(TRY(make<ResourceGroup>(cpu, parent, cpu.machine, parent)));
}

Status ResourceGroup::take_back(Resource resource, u64 amount, ResourceGroup* last) {
  for (ResourceGroup* g = this;; g = g->parent_.get()) {
    g->counters_[usize(resource)].usage.fetch_sub(amount, kRelaxed);
    if (g == last) return Status::quota_exceeded;
  }
}

void ResourceGroup::destroy(Cpu& cpu) {
  const RefPtr<ResourceGroup> payer(group());  // outlives this object, which holds the other reference
  destroy_object(cpu, *payer, this);
}

}  // namespace keel
