// ResourceGroup: who pays. A tree of limits on memory and kernel objects; every allocation names the group it is
// charged to, and a charge counts against all its ancestors.
//
// Invariants   I1 no charge that succeeds takes usage(r) above limit(r), in the group or in any of its ancestors. One
//                 that fails does so for the moment until it has taken itself back. A limit that is lowered below the
//                 usage leaves it there, until enough was given back.
// Locks        none for charging: counters are atomics, and a charge that fails half way up is taken back.
// Costs        charge and uncharge are O(depth), depth <= kMaxDepth.
#pragma once

#include "kernel/object/object.h"

namespace keel {

enum class Resource : u8 {
  frames,  // 4 KiB pages of RAM: user memory, page tables, capability tables, slabs' growth is charged as bytes below
  kernel_bytes,  // bytes of kernel objects from the heap
  count,
};

class ResourceGroup final : public KObject {
 public:
  static constexpr ObjectKind kKind = ObjectKind::group;
  static constexpr u32 kMaxDepth = 8;
  static constexpr u64 kNoLimit = ~u64{0};

  // The first group of a machine, in memory that the caller provides.
  ResourceGroup(Machine& machine, void* root_tag);
  // Errors: no_memory, quota_exceeded, too_deep (more than kMaxDepth levels).
  static Result<RefPtr<ResourceGroup>> create(Cpu& cpu, ResourceGroup& parent);

  // Errors: quota_exceeded (nothing is charged then).
  Result<void> charge(Resource resource, u64 amount) {
    for (ResourceGroup* g = this; g != nullptr; g = g->parent_.get()) {
      Counter& c = g->counters_[usize(resource)];
      const u64 sum = c.usage.fetch_add(amount, kRelaxed) + amount;
      if (sum < amount || sum > c.limit.load(kRelaxed)) [[unlikely]]
        return take_back(resource, amount, g);
    }
    return {};
  }
  void uncharge(Resource resource, u64 amount) {
    for (ResourceGroup* g = this; g != nullptr; g = g->parent_.get()) {
      if (g->counters_[usize(resource)].usage.fetch_sub(amount, kRelaxed) < amount) __builtin_trap();
    }
  }
  u64 usage(Resource resource) const { return counters_[usize(resource)].usage.load(kRelaxed); }
  u64 limit(Resource resource) const { return counters_[usize(resource)].limit.load(kRelaxed); }
  // Lowering a limit below the usage is allowed: it stops further charges.
  void set_limit(Resource resource, u64 limit) { counters_[usize(resource)].limit.store(limit, kRelaxed); }
  Machine& machine() const { return machine_; }
  ResourceGroup* parent() const { return parent_.get(); }

 private:
  template <class T, class... A>
  friend Result<T*> make(Cpu&, ResourceGroup&, A&&...);
  template <class T>
  friend void destroy_object(Cpu&, ResourceGroup&, T*);

  ResourceGroup(Machine& machine, ResourceGroup& parent);
  void destroy(Cpu& cpu) override;
  // A charge has gone over the limit of `last`: undoes it up to there.
  Status take_back(Resource resource, u64 amount, ResourceGroup* last);

  struct Counter {
    Atomic<u64> usage{0};
    Atomic<u64> limit{kNoLimit};
  };
  Machine& machine_;
  RefPtr<ResourceGroup> parent_;
  u32 depth_ = 0;
  Counter counters_[usize(Resource::count)];
};

}  // namespace keel
