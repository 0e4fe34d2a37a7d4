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

Result<void> ResourceGroup::charge(Resource resource, u64 amount) {
  for (ResourceGroup* g = this; g != nullptr; g = g->parent_.get()) {
    Counter& c = g->counters_[usize(resource)];
    const u64 limit = c.limit.load(kRelaxed);
    u64 usage = c.usage.load(kRelaxed);
    do {
      u64 sum = 0;
      if (!checked_add(usage, amount, &sum) || sum > limit) {
        for (ResourceGroup* undo = this; undo != g; undo = undo->parent_.get()) {
          undo->counters_[usize(resource)].usage.fetch_sub(amount, kRelaxed);
        }
        return Status::quota_exceeded;
      }
    } while (!c.usage.compare_exchange(&usage, usage + amount, kRelaxed));
  }
  return Status::ok;
}

void ResourceGroup::uncharge(Resource resource, u64 amount) {
  for (ResourceGroup* g = this; g != nullptr; g = g->parent_.get()) {
    if (g->counters_[usize(resource)].usage.fetch_sub(amount, kRelaxed) < amount) __builtin_trap();
  }
}

void ResourceGroup::destroy(Cpu& cpu) {
  const RefPtr<ResourceGroup> payer(group());  // outlives this object, which holds the other reference
  destroy_object(cpu, *payer, this);
}

}  // namespace keel
