#include "kernel/group/group.h"

#include "kernel/core/machine.h"
#include "kernel/mm/heap.h"
#include "kernel/object/notification.h"

namespace keel {

ResourceGroup::ResourceGroup(Machine& machine, void*)
    : KObject(ObjectKind::group, *this, machine), machine_(machine), name_{"root"} {}

ResourceGroup::ResourceGroup(Machine& machine, ResourceGroup& parent, const GroupName& name, FairQueue* queues,
                             u32 queue_count)
    : KObject(ObjectKind::group, parent),
      machine_(machine),
      parent_(parent),
      depth_(parent.depth_ + 1),
      name_(name),
      queues_(queues),
      queue_count_(queue_count) {
  for (u32 i = 0; i < queue_count; ++i) {
    new (&queues[i]) FairQueue(parent.queue(*machine.cpus[i]), budget_);
  }
}

ResourceGroup::~ResourceGroup() = default;

Result<RefPtr<ResourceGroup>> ResourceGroup::create(Cpu& cpu, ResourceGroup& parent, const GroupName& name) {
  if (parent.depth_ + 1 >= kMaxDepth) return Status::too_deep;
  const u32 count = cpu.machine.known_cpus;
  KernelHeap& heap = heap_of(cpu);
  auto* queues = static_cast<FairQueue*>(TRY(heap.allocate(cpu, parent, count * sizeof(FairQueue))));
  auto made = make<ResourceGroup>(cpu, parent, cpu.machine, parent, name, queues, count);
  if (!made.has_value()) {
    heap.free(cpu, parent, queues, count * sizeof(FairQueue));
    return made.status();
  }
  return RefPtr<ResourceGroup>::adopt(*made);
}

void ResourceGroup::note_pressure() {
  if (pressure_.queued.exchange(true, kRelaxed)) return;
  add_ref();  // the work's
  machine_.orphans.add(pressure_);
}

bool ResourceGroup::Pressure::step(Cpu& cpu) {
  RefPtr<Notification> told;
  u64 bits = 0;
  queued.store(false, kRelaxed);
  {
    LockGuard guard(cpu, group_.lock_);
    if (Notification* target = group_.told_.get()) told = RefPtr<Notification>(*target);
    bits = group_.told_.data();
  }
  if (told) told->signal(cpu, bits);
  group_.drop_ref();
  return true;
}

Status ResourceGroup::take_back(Resource resource, u64 amount, ResourceGroup* last) {
  for (ResourceGroup* g = this;; g = g->parent_.get()) {
    g->counters_[usize(resource)].usage.fetch_sub(amount, kRelaxed);
    if (g == last) return Status::quota_exceeded;
  }
}

void ResourceGroup::notify_pressure(Cpu& cpu, Binding<Notification>& target, u64 pages) {
  LockGuard guard(cpu, lock_);
  told_.swap(target);
  pressure_pages_.store(told_.get() == nullptr ? kNoLimit : pages, kRelaxed);
}

void ResourceGroup::tell_nobody(Cpu& cpu) {
  Binding<Notification> told;
  notify_pressure(cpu, told, 0);
  told.release(cpu);
  budget_.notify(cpu, told);
  told.release(cpu);
}

FairQueue& ResourceGroup::queue(const Cpu& cpu) const {
  return parent_ ? queues_[cpu.index] : machine_.cpus[cpu.index]->scheduler.root;
}

void ResourceGroup::set_cpu(Cpu& cpu, u64 budget_ns, u64 period_ns, u32 weight) {
  const Clock& clock = machine_.clock;
  // Each CPU takes a part at a time, so that the last one to come finds something.
  budget_.set(cpu, clock.to_tsc(budget_ns), clock.to_tsc(period_ns), queue_count_ == 1 ? 1 : u64{4} * queue_count_);
  weight_.store(weight, kRelaxed);
  for (u32 i = 0; i < queue_count_; ++i) queues_[i].set_weight(weight);
  queue(cpu).account.unpark(cpu);
  if (cpu.context != nullptr) cpu.change_context(cpu.context);  // it may be of this group, with an old slice
}

u64 ResourceGroup::consumed(Cpu& here) const {
  const u64 now = here.now_tsc();
  u64 sum = 0;
  for (u32 i = 0; i < machine_.known_cpus; ++i) {
    const Cpu& cpu = *machine_.cpus[i];
    const Account& account = queue(cpu).account;
    sum += account.used;
    // A context that another CPU has just left is still there: what it belongs to is freed with grace.
    const SchedulingContext* running = cpu.context;
    if (running == nullptr || !account.includes(*running->account)) continue;
    const u64 since = cpu.context_since;
    sum += account.unsettled(*running->account) + (now > since ? now - since : 0);
  }
  return sum;
}

bool ResourceGroup::contains(const ResourceGroup& other) const {
  for (const ResourceGroup* g = &other; g != nullptr; g = g->parent_.get()) {
    if (g == this) return true;
  }
  return false;
}

Process* ResourceGroup::next_process(Cpu& cpu, u64& after, u32 most) {
  for (; most > 0; --most) {
    Process* process = machine_.next_process(cpu, after);
    after = process == nullptr ? ~u64{0} : process->id();
    if (process == nullptr || contains(process->group())) return process;
  }
  return nullptr;
}

// Its accounts may still stand in timer queues, each on its CPU.
Cpu* ResourceGroup::release_place(Cpu&) {
  for (u32 i = 0; i < queue_count_; ++i) {
    if (queues_[i].account.is_queued()) return machine_.cpus[i];
  }
  return nullptr;
}

bool ResourceGroup::release_step(Cpu& cpu) {
  if (cpu.index < queue_count_) queues_[cpu.index].account.leave_timers(cpu);
  return release_place(cpu) == nullptr;
}

void ResourceGroup::destroy(Cpu& cpu) {
  tell_nobody(cpu);                            // a call may have come after the last capability went
  const RefPtr<ResourceGroup> payer(group());  // outlives this object, which holds the other reference
  FairQueue* queues = queues_;
  const u32 count = queue_count_;
  for (u32 i = 0; i < count; ++i) {
    queues[i].~FairQueue();
  }
  destroy_object(cpu, *payer, this);
  heap_of(cpu).free(cpu, *payer, queues, count * sizeof(FairQueue));
}

}  // namespace keel
