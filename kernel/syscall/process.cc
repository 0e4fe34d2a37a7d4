// Process and thread calls.
#include <string.h>

#include <arch/context.h>

#include "kernel/core/machine.h"
#include "kernel/syscall/handlers.h"
#include "kernel/syscall/objects.h"

namespace keel::sys {
namespace {

constexpr u64 kLastUserByte = 0x7fff'ffff'efff;

bool is_user_address(u64 address) { return address <= kLastUserByte; }

// CPU time of all threads, those that are gone included.
u64 consumed_ns(CallContext& c, Process& process) {
  u64 tsc = process.consumed();
  process.for_each_thread(c.cpu, 256, [&](const Thread& t) { tsc += t.own_context.consumed + t.uncharged(c.cpu); });
  return c.machine().clock.to_ns(tsc);
}

u64 memory_pages(const Process& process) { return process.space() == nullptr ? 0 : process.space()->mapped_pages(); }

template <class R>
R describe(CallContext& c, Process& process) {
  u64 name[3];
  memcpy(name, process.name().text, sizeof(name));
  return R{process.id(),
           u64(process.state()) | u64{process.thread_count()} << 32,
           consumed_ns(c, process),
           memory_pages(process),
           process.caps.used(),
           name[0],
           name[1],
           name[2]};
}

// The state that thread_info and thread_list show.
u64 state_number(const Thread& t) {
  switch (t.phase.status) {
    case ThreadStatus::fresh:
      return 0;
    case ThreadStatus::ready:
    case ThreadStatus::running:
      return 1;
    case ThreadStatus::waiting:
      return t.phase.wait == WaitKind::stopped ? 3 : t.phase.fault ? 4 : 2;
    case ThreadStatus::dead:
      break;
  }
  return 5;
}

// A thread whose registers are all in its state, and that is not on its way out.
bool is_stopped(const Thread& t) {
  return t.phase.status == ThreadStatus::fresh || (t.waits() && (t.phase.wait == WaitKind::stopped || t.phase.fault));
}

}  // namespace

Result<ProcessCreateResult> process_create(CallContext& c, ResourceGroup& group, u64 name0, u64 name1, u64 name2) {
  ProcessName name;
  u64 words[3] = {name0, name1, name2};
  static_assert(sizeof(words) == sizeof(name.text));
  memcpy(name.text, words, sizeof(words));
  for (char& letter : name.text) {
    if (letter != 0 && (letter < 0x21 || letter > 0x7e)) letter = '?';
  }
  auto process = TRY(Process::create(c.cpu, group, name));
  process->top_level = c.process().top_level;  // nobody makes a process that may run above itself
  CapIndex space = TRY(c.caps().insert_root(c.cpu, *process->space(), all_rights(ObjectKind::address_space), 0));
  Result<CapIndex> index = c.publish(process);
  if (!index.has_value()) {
    (void)c.caps().remove(c.cpu, space);
    return index.status();
  }
  return ProcessCreateResult{*index, space, process->id()};
}

Result<ProcessInfoResult> process_info(CallContext& c, Process& process) {
  return ProcessInfoResult{process.id(),          u64(process.state()), process.thread_count(), consumed_ns(c, process),
                           memory_pages(process), process.caps.used(),  process.exit_status(),  process.faults()};
}

Result<void> process_kill(CallContext& c, Process& process, u64 status) {
  process.kill(c.cpu, status);
  return {};
}

Result<u64> process_wait(CallContext& c, Process& process, Deadline deadline) {
  if (process.state() == ProcessState::dead) return process.exit_status();
  if (c.thread.take_cancel()) return Status::cancelled;
  if (deadline == kPoll) return Status::timed_out;
  if (!process.wait_exit(c.cpu, c.thread, c.capability(), deadline)) return process.exit_status();
  return u64{0};
}

Result<void> process_watch(CallContext& c, Process& process, Notification& notification, u64 bits) {
  const CapIndex through(c.word(0));
  u64 scope = c.slot(through).scope;
  if (scope != 0 && (bits & ~scope) != 0) return Status::missing_right;
  return process.watch(c.cpu, c.binding(notification, through, bits));
}

Result<void> process_set_handler(CallContext& c, Process& process, Port* port) {
  const CapIndex through(c.word(0));
  if (port != nullptr) return process.set_handler(c.cpu, c.binding(*port, through, c.slot(through).scope));
  process.clear_handler(c.cpu);
  return {};
}

Result<void> process_set_limits(CallContext& c, Process& process, u64 top_level, u64 capabilities) {
  if (top_level > c.process().top_level || capabilities == 0 || capabilities > CapSpace::kMaxSlots)
    return Status::invalid_argument;
  process.top_level = u32(top_level);
  process.caps.set_limit(u32(capabilities));
  return {};
}

Result<void> process_set_labels(CallContext& c, Process& process, KernelControl&, u64 uid, u64 gid) {
  if (uid >> 32 != 0 || gid >> 32 != 0) return Status::invalid_argument;
  return process.set_labels(c.cpu, u32(uid), u32(gid));
}

Result<CallerLabelsResult> caller_labels(CallContext& c) {
  if (c.thread.caller == nullptr) return Status::bad_state;
  const Process& caller = *c.thread.caller->process;
  return CallerLabelsResult{caller.uid(), caller.gid()};
}

Result<ProcessListResult> process_list(CallContext& c, KernelControl&, u64 after) {
  Process* process = c.machine().next_process(c.cpu, after);
  if (process == nullptr) return Status::not_found;
  return describe<ProcessListResult>(c, *process);
}

Result<GroupProcessesResult> group_processes(CallContext& c, ResourceGroup& group, u64 after) {
  constexpr u32 kMost = 64;
  Process* process = group.next_process(c.cpu, after, kMost);
  if (process != nullptr) return describe<GroupProcessesResult>(c, *process);
  if (after == ~u64{0}) return Status::not_found;
  c.set_word(0, after);
  return Status::restart;
}

Result<ThreadListResult> thread_list(CallContext& c, KernelControl&, u64 number, u64 after) {
  Process* process = number == 0 ? nullptr : c.machine().next_process(c.cpu, number - 1);
  if (process == nullptr || process->id() != number) return Status::not_found;
  Thread* const t = TRY(process->next_thread(c.cpu, after));
  if (t == nullptr) return Status::not_found;
  u64 name[2];
  static_assert(sizeof(name) == sizeof(GroupName));
  memcpy(name, process->group().name().text, sizeof(name));
  const u64 state = t->phase.status == ThreadStatus::running ? 6 : state_number(*t);
  return ThreadListResult{t->id(),
                          state,
                          t->context->level | u64{t->own_context.base_level} << 32,
                          t->consumed_ns(c.cpu),
                          t->switches,
                          process->group().id(),
                          name[0],
                          name[1]};
}

Result<ThreadCreateResult> thread_create(CallContext& c, Process& process, u64 level) {
  if (level >= kLevels || level > process.top_level) return Status::invalid_argument;
  if (!process.alive()) return Status::bad_state;
  auto thread = TRY(Thread::create(c.cpu, process, u32(level)));
  Result<CapIndex> index = c.publish(thread);
  if (!index.has_value()) {
    (void)thread->kill(c.cpu);
    return index.status();
  }
  return ThreadCreateResult{*index, thread->message_page_user.value, thread->id()};
}

Result<void> thread_start(CallContext& c, Thread& thread, VirtAddr entry, VirtAddr stack, u64 argument0,
                          u64 argument1) {
  if (!is_user_address(entry.value) || !is_user_address(stack.value)) return Status::bad_address;
  if (thread.phase.status != ThreadStatus::fresh || !thread.process->alive()) return Status::bad_state;
  thread.own_context.causality = c.thread.context->causality;
  thread.start(c.cpu, entry.value, stack.value, argument0, argument1);
  return {};
}

Result<TraceContextResult> trace_context(CallContext& c, u64 trace, u64 span, u64 flags) {
  if (flags != 0) c.thread.own_context.causality = {trace, span};
  const Causality& now = c.thread.context->causality;
  return TraceContextResult{now.trace, now.span};
}

Result<void> thread_exit(CallContext& c) {
  (void)c.thread.kill(c.cpu);
  return {};
}

Result<void> thread_suspend(CallContext& c, Thread& thread) {
  if (thread.phase.status == ThreadStatus::dead) return Status::bad_state;
  thread.suspend(c.cpu);
  return {};
}

Result<void> thread_resume(CallContext& c, Thread& thread) {
  if (thread.phase.status == ThreadStatus::dead || thread.phase.status == ThreadStatus::fresh) return Status::bad_state;
  thread.resume(c.cpu);
  return {};
}

Result<void> thread_cancel(CallContext& c, Thread& thread) {
  thread.cancel(c.cpu);
  return {};
}

Result<void> thread_set_level(CallContext& c, Thread& thread, u64 level) {
  if (level >= kLevels || level > thread.process->top_level) return Status::invalid_argument;
  if (thread.phase.status == ThreadStatus::dead || thread.reservation) return Status::bad_state;
  thread.set_level(c.cpu, u32(level));
  return {};
}

Result<void> thread_set_affinity(CallContext& c, Thread& thread, u64 cpus) { return set_affinity(c.cpu, thread, cpus); }

Result<void> thread_set_context(CallContext& c, Thread& thread, Reservation* context) {
  if (thread.phase.status == ThreadStatus::dead) return Status::bad_state;
  if (context != nullptr && context->level() > thread.process->top_level) return Status::invalid_argument;
  if (thread.run_on != &c.cpu) {
    // It may have gone again when this call gets there. Word 1: how often it was called.
    constexpr u64 kMostCalls = 64;
    if (c.word(1) >= kMostCalls) return Status::busy;
    c.set_word(1, c.word(1) + 1);
    return thread.call_home(c.cpu) ? Status::restart : Status::bad_state;
  }
  if (context == nullptr) {
    if (thread.reservation) thread.set_reservation(c.cpu, nullptr, thread.own_context.base_level);
    return {};
  }
  if (context->home() == &c.cpu) return context->bind(c.cpu, thread);
  // Its CPU becomes the thread's.
  if (thread.caller != nullptr || thread.callee != nullptr || thread.borrower != nullptr || thread.reservation) {
    return Status::bad_state;
  }
  TRY(set_affinity(c.cpu, thread, u64{1} << context->home()->index % 64));
  return Status::restart;
}

Result<ThreadInfoResult> thread_info(CallContext& c, Thread& t) {
  return ThreadInfoResult{t.id(),     state_number(t), t.own_context.base_level, t.consumed_ns(c.cpu),
                          t.switches, t.run_on->index};
}

Result<u64> thread_registers(CallContext& c, Thread& t) {
  if (!is_stopped(t)) return Status::bad_state;
  const auto& s = t.state;
  ThreadRegisters r{s.rax, s.rbx, s.rcx,     s.word[1], s.word[0], s.rdi,     s.rbp, s.rsp,    s.word[2], s.word[3],
                    s.r10, s.r11, s.word[4], s.word[5], s.word[6], s.word[7], s.rip, s.rflags, s.fs_base, s.gs_base};
  memcpy(c.thread.message_page->words, &r, sizeof(r));
  return u64{sizeof(r) / sizeof(u64)};
}

Result<void> thread_set_registers(CallContext& c, Thread& t) {
  if (!is_stopped(t)) return Status::bad_state;
  ThreadRegisters r;
  memcpy(&r, c.thread.message_page->words, sizeof(r));  // read once
  if (!is_user_address(r.rip) || !is_user_address(r.rsp) || !is_user_address(r.fs_base) ||
      !is_user_address(r.gs_base)) {
    return Status::bad_address;
  }
  auto& s = t.state;
  s.rax = r.rax, s.rbx = r.rbx, s.rcx = r.rcx, s.rdi = r.rdi, s.rbp = r.rbp, s.rsp = r.rsp, s.r10 = r.r10,
  s.r11 = r.r11;
  u64 words[kRegisterWords] = {r.rsi, r.rdx, r.r8, r.r9, r.r12, r.r13, r.r14, r.r15};
  for (u32 i = 0; i < kRegisterWords; ++i) s.word[i] = words[i];
  s.rip = r.rip, s.fs_base = r.fs_base, s.gs_base = r.gs_base;
  constexpr u64 kArithmetic = 0xcd5;  // carry, parity, adjust, zero, sign, direction, overflow
  s.rflags = (r.rflags & kArithmetic) | arch::kUserFlags;
  s.resume = arch::ResumeKind::interrupted;
  return {};
}

}  // namespace keel::sys
