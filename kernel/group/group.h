// ResourceGroup: who pays. A tree of limits on memory, kernel objects and CPU time; every allocation names the group it
// is charged to, and a charge counts against all its ancestors. Its share of each CPU is a FairQueue (scheduler.h).
//
// Invariants   I1 no charge that succeeds takes usage(r) above limit(r), in the group or in any of its ancestors. One
//                 that fails does so for the moment until it has taken itself back. A limit that is lowered below the
//                 usage leaves it there, until enough was given back.
// Locks        none for charging: counters are atomics, and a charge that fails half way up is taken back. lock_ (rank
//              object) guards whom to tell of pressure. A FairQueue belongs to its CPU.
// Lifetime     a child holds a reference to its parent, whatever is charged holds one to the group. The notifications
//              that it tells are let go with its last capability: they may be charged to it.
// Costs        charge and uncharge are O(depth), depth <= kMaxDepth.
// See          docs/adr/0009-cpu-budgets.md
#pragma once

#include "kernel/core/scheduler.h"
#include "kernel/object/object.h"

namespace keel {

class Notification;
class Process;

enum class Resource : u8 {
  frames,        // 4 KiB pages of RAM: user memory, page tables, capability tables. The root group's: slabs, too
  kernel_bytes,  // bytes of kernel objects from the heap
  objects,       // kernel objects that a capability can name
  queue_bytes,   // bytes of the message queues of ports; they are kernel bytes as well
  count,
};

struct GroupName {
  char text[16] = {};
};

class ResourceGroup final : public KObject {
 public:
  static constexpr ObjectKind kKind = ObjectKind::group;
  static constexpr u32 kMaxDepth = 8;
  static constexpr u64 kNoLimit = ~u64{0};

  // The first group of a machine, in memory that the caller provides.
  ResourceGroup(Machine& machine, void* root_tag);
  ~ResourceGroup() override;
  // Errors: no_memory, quota_exceeded, too_deep (more than kMaxDepth levels).
  static Result<RefPtr<ResourceGroup>> create(Cpu& cpu, ResourceGroup& parent, const GroupName& name = {});

  // Errors: quota_exceeded (nothing is charged then).
  Result<void> charge(Resource resource, u64 amount) {
    for (ResourceGroup* g = this; g != nullptr; g = g->parent_.get()) {
      Counter& c = g->counters_[usize(resource)];
      const u64 sum = c.usage.fetch_add(amount, kRelaxed) + amount;
      if (sum < amount || sum > c.limit.load(kRelaxed)) [[unlikely]]
        return take_back(resource, amount, g);
      if (resource == Resource::frames) {
        const u64 threshold = g->pressure_pages_.load(kRelaxed);
        if (sum > threshold && sum - amount <= threshold) [[unlikely]]
          g->note_pressure();
      }
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
  // Whom to tell whenever the usage of frames rises above `pages`; may be nobody. Takes `target` and gives back the
  // last.
  void notify_pressure(Cpu& cpu, Binding<Notification>& target, u64 pages);

  // What it has on that CPU.
  FairQueue& queue(const Cpu& cpu) const;
  // Its budget over all CPUs together, per period (0: none), and its weight among its siblings. Not for the root group.
  void set_cpu(Cpu& cpu, u64 budget_ns, u64 period_ns, u32 weight);
  CpuBudget& budget() { return budget_; }
  u32 weight() const { return weight_.load(kRelaxed); }
  // Time stamps that its threads and those of its children used, on all CPUs, whatever runs now included.
  u64 consumed(Cpu& here) const;

  const GroupName& name() const { return name_; }
  Machine& machine() const { return machine_; }
  ResourceGroup* parent() const { return parent_.get(); }
  void on_zero_handles(Cpu& cpu) override { tell_nobody(cpu); }
  bool contains(const ResourceGroup& other) const;
  // The first process with a number above `after` of this group or one below it; null when there is none among the next
  // `most` processes of the machine. `after` becomes the number of the last one looked at, all ones at the end.
  Process* next_process(Cpu& cpu, u64& after, u32 most);

 private:
  void tell_nobody(Cpu& cpu);
  friend class ObjectMaker;

  // Signals from a place where that is allowed: charges are made under any lock.
  class Pressure final : public Work {
   public:
    explicit Pressure(ResourceGroup& group) : group_(group) {}
    bool step(Cpu& cpu) override;
    Atomic<bool> queued{false};

   private:
    ResourceGroup& group_;
  };

  ResourceGroup(Machine& machine, ResourceGroup& parent, const GroupName& name, FairQueue* queues, u32 queue_count);
  Cpu* release_place(Cpu& cpu) override;
  bool release_step(Cpu& cpu) override;
  void destroy(Cpu& cpu) override;
  // A charge has gone over the threshold: somebody will be told.
  void note_pressure();
  // A charge has gone over the limit of `last`: undoes it up to there.
  Status take_back(Resource resource, u64 amount, ResourceGroup* last);

  struct Counter {
    Atomic<u64> usage{0};
    Atomic<u64> limit{kNoLimit};
  };
  Machine& machine_;
  RefPtr<ResourceGroup> parent_;
  u32 depth_ = 0;
  GroupName name_;
  Counter counters_[usize(Resource::count)];
  CpuBudget budget_;
  Atomic<u32> weight_{FairQueue::kDefaultWeight};
  FairQueue* queues_ = nullptr;  // one for each CPU that the machine has; the root group's are the CPUs' own
  u32 queue_count_ = 0;

  Atomic<u64> pressure_pages_{kNoLimit};
  Pressure pressure_{*this};
  SpinLock lock_{LockRank::object, "group"};
  Binding<Notification> told_ GUARDED_BY(lock_);
};

}  // namespace keel
