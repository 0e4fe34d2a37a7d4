// Resource groups and scheduling contexts.
#include <string.h>

#include "kernel/core/machine.h"
#include "kernel/syscall/handlers.h"
#include "kernel/syscall/objects.h"

namespace keel::sys {
namespace {

// What a notification is told must be within the scope of the capability shown for it, which is in word 0.
Result<void> check_bits(CallContext& c, const Notification* notification, u64 bits) {
  if (notification == nullptr) return {};
  const u64 scope = c.slot(CapIndex(c.word(0))).scope;
  return scope != 0 && (bits & ~scope) != 0 ? Status::missing_right : Status::ok;
}

// Nothing to tell, or nobody: nothing is bound.
Result<void> bind_optional(CallContext& c, Binding<Notification>& binding, Notification* notification, u64 bits) {
  if (notification == nullptr || bits == 0) return {};
  return binding.bind(c.cpu, c.binding(*notification, CapIndex(c.word(0)), bits));
}

}  // namespace

Result<CapIndex> group_create(CallContext& c, ResourceGroup& group, u64 name0, u64 name1) {
  GroupName name;
  const u64 words[2] = {name0, name1};
  static_assert(sizeof(words) == sizeof(name.text));
  memcpy(name.text, words, sizeof(words));
  for (char& letter : name.text) {
    if (letter != 0 && (letter < 0x21 || letter > 0x7e)) letter = '?';
  }
  auto made = TRY(ResourceGroup::create(c.cpu, group, name));
  // Real time is taken from everybody: who may not reserve it may not make a group that does.
  const Rights reserve = rights::group::reserve & ~CapSlot::rights(c.target().load());
  return c.caps().insert_root(c.cpu, *made, Rights(all_rights(ObjectKind::group) & ~reserve), 0);
}

Result<void> group_set_limits(CallContext&, ResourceGroup& group, u64 memory_pages, u64 kernel_bytes, u64 objects,
                              u64 queue_bytes) {
  group.set_limit(Resource::frames, memory_pages);
  group.set_limit(Resource::kernel_bytes, kernel_bytes);
  group.set_limit(Resource::objects, objects);
  group.set_limit(Resource::queue_bytes, queue_bytes);
  return {};
}

Result<GroupInfoResult> group_info(CallContext&, ResourceGroup& group) {
  return GroupInfoResult{group.usage(Resource::frames),       group.limit(Resource::frames),
                         group.usage(Resource::kernel_bytes), group.limit(Resource::kernel_bytes),
                         group.usage(Resource::objects),      group.limit(Resource::objects),
                         group.usage(Resource::queue_bytes),  group.limit(Resource::queue_bytes)};
}

Result<void> group_set_cpu(CallContext& c, ResourceGroup& group, u64 budget_ns, u64 period_ns, u64 weight) {
  if (group.parent() == nullptr || weight == 0 || weight > FairQueue::kMaxWeight) return Status::invalid_argument;
  TRY(check_budget(budget_ns, period_ns, period_ns * c.machine().cpu_count.load(kRelaxed)));
  group.set_cpu(c.cpu, budget_ns, period_ns, u32(weight));
  return {};
}

Result<void> group_notify(CallContext& c, ResourceGroup& group, Notification* notification, u64 memory_bits,
                          u64 memory_pages, u64 cpu_bits) {
  TRY(check_bits(c, notification, memory_bits | cpu_bits));
  Binding<Notification> memory, cpu;
  Result<void> bound = bind_optional(c, memory, notification, memory_bits);
  if (bound.has_value()) bound = bind_optional(c, cpu, notification, cpu_bits);
  if (bound.has_value()) {
    group.notify_pressure(c.cpu, memory, memory_pages);
    group.budget().notify(c.cpu, cpu);
  }
  memory.release(c.cpu);  // the last ones, or those of which not both could be made
  cpu.release(c.cpu);
  return bound;
}

Result<GroupUsageResult> group_usage(CallContext& c, ResourceGroup& group) {
  const Clock& clock = c.machine().clock;
  u64 name[2];
  memcpy(name, group.name().text, sizeof(name));
  return GroupUsageResult{clock.to_ns(group.consumed(c.cpu)),
                          clock.to_ns(group.budget().budget(c.cpu)),
                          clock.to_ns(group.budget().period()),
                          group.weight(),
                          group.budget().overruns(),
                          group.id(),
                          name[0],
                          name[1]};
}

// Word 1 is the number of the last process that was looked at, word 2 whether one that is not dead yet was met. New
// ones have higher numbers, and a process that is being killed makes none, so one round finds all; the others wait for
// the dead, whose teardown goes on at the end of each round.
Result<void> group_kill(CallContext& c, ResourceGroup& group, u64 status) {
  constexpr u32 kMost = 16;
  u64 after = c.word(1);
  bool left = c.word(2) != 0;
  for (u32 n = 0; n < kMost && after != ~u64{0}; ++n) {
    Process* process = group.next_process(c.cpu, after, kMost);
    if (process == nullptr || process == &c.process()) continue;
    if (!process->try_ref()) {  // being freed, and what it held with it
      left = true;
      continue;
    }
    process->kill(c.cpu, status);
    if (process->state() != ProcessState::dead) left = true;
    process->drop_ref();
  }
  if (after == ~u64{0} && !left) {
    if (group.contains(c.group())) c.process().kill(c.cpu, status);
    return {};
  }
  if (c.thread.take_cancel()) return Status::cancelled;
  c.set_word(1, after == ~u64{0} ? 0 : after);
  c.set_word(2, after == ~u64{0} ? 0 : left);
  return Status::restart;
}

Result<CapIndex> context_create(CallContext& c, ResourceGroup& group) {
  return c.publish(TRY(Reservation::create(c.cpu, group)));
}

Result<void> context_configure(CallContext& c, Reservation& context, u64 level, u64 budget_ns, u64 period_ns) {
  if (level >= kLevels || level > c.process().top_level) return Status::invalid_argument;
  return context.configure(c.cpu, u32(level), budget_ns, period_ns);
}

Result<void> context_notify(CallContext& c, Reservation& context, Notification* notification, u64 bits) {
  TRY(check_bits(c, notification, bits));
  Binding<Notification> told;
  TRY(bind_optional(c, told, notification, bits));
  context.budget().notify(c.cpu, told);
  told.release(c.cpu);  // the last one
  return {};
}

Result<ContextInfoResult> context_info(CallContext& c, Reservation& context) {
  const Clock& clock = c.machine().clock;
  c.cpu.bring_accounts_up_to_date();
  return ContextInfoResult{context.level(),
                           clock.to_ns(context.budget().budget(c.cpu)),
                           clock.to_ns(context.budget().period()),
                           clock.to_ns(context.account().used),
                           context.budget().overruns(),
                           context.threads()};
}

}  // namespace keel::sys
