#include "kernel/core/entry.h"

#include <utility>

#include <arch/context.h>

#include "abi/calls.h"
#include "kernel/core/cpu.h"
#include "kernel/core/fast_scheduling.h"
#include "kernel/core/machine.h"
#include "kernel/core/process.h"
#include "kernel/ipc/port.h"
#include "kernel/mm/address_space.h"
#include "kernel/syscall/context.h"
#include "kernel/syscall/handlers.h"

namespace keel {
namespace {

void trace(Cpu& cpu, TraceEvent event, const Thread* thread, u8 code, u64 data = 0, u16 status = 0) {
  const bool idle = thread == nullptr;
  cpu.trace.add({cpu.now_tsc(), event, code, status, idle ? 0 : u32(thread->id()), data,
                 idle ? 0 : u32(thread->process->id()), idle ? 0 : u32(thread->context->causality.trace)});
}

constexpr u32 kWorkSteps = 2;  // per entry: law 3 and docs/invariants.md, "bounded work"
constexpr u64 kWorkPatienceNs = 100'000;
constexpr u32 kTimersPerEntry = 8;
constexpr u32 kPicksPerEntry = 32;  // threads that are found not to be allowed to run

// The start of every entry. The fast paths switch threads without a word about cpu.loaded: it is the current thread, if
// there is one.
Thread* note_loaded(Cpu& cpu) {
  if (cpu.current != nullptr) {
    cpu.loaded = cpu.current;
  } else {
    cpu.leave_idle();
  }
  return cpu.current;
}

// What the current thread may do next: run on, or be replaced.
bool may_run_on(Cpu& cpu) {
  Thread* t = cpu.current;
  if (t == nullptr || t->phase.status != ThreadStatus::running) return false;
  if (t->has_flags(Thread::kSuspend | Thread::kExiting) || !t->process->alive() || t->run_on != &cpu) return false;
  return !cpu.reschedule;
}

// The current thread gives the CPU up although it could go on.
void put_back(Cpu& cpu, u64 now) {
  Thread* t = cpu.current;
  if (t == nullptr || t->phase.status != ThreadStatus::running) return;
  if (!t->may_run_on(cpu)) {
    cpu.change_context(nullptr);  // settled before it belongs to another CPU
    t->phase = {ThreadStatus::waiting, WaitKind::stopped};
    obey_affinity(cpu, *t);
    if (t->run_on != &cpu) return t->depart(cpu, *t->run_on, Thread::Travel::ready);
  }
  if (t->has_flags(Thread::kSuspend | Thread::kExiting) || !t->process->alive()) {
    t->phase = {ThreadStatus::waiting, WaitKind::stopped};
    return;
  }
  t->phase = {ThreadStatus::ready};
  if (now >= cpu.quantum_end_ns) {
    cpu.scheduler.enqueue_back(*t);
  } else {
    t->quantum_left_ns = cpu.quantum_end_ns - now;  // a fresh one each time would starve its equals
    cpu.scheduler.enqueue_front(*t);
  }
}

// Who runs next. The time up to `now` is settled.
Thread* pick(Cpu& cpu, u64 now) {
  for (u32 n = 0; n < kPicksPerEntry; ++n) {
    Thread* t = cpu.scheduler.pick();
    if (t == nullptr) return nullptr;
    if (!t->process->alive()) {
      t->phase = {ThreadStatus::waiting, WaitKind::stopped};  // its process is going: the teardown will find it
      continue;
    }
    Account& account = *t->context->account;
    if (!account.limited() || account.exhausted(cpu, now) == nullptr) return t;
    // If nobody lends, it may be back on a context that it had before.
    if (t->borrow_context(cpu, now)) continue;
    Account* const empty = t->context->account->exhausted(cpu, now);
    if (empty == nullptr) return t;  // another CPU has set a budget anew
    empty->park(cpu, *t);
  }
  arch::interrupt_self(cpu);  // it may have to wait for the others
  return nullptr;
}

void set_timer(Cpu& cpu) {
  cpu.timer_stale = false;
  u64 next = cpu.timers.earliest().value;
  if (cpu.work_due_ns != 0 && cpu.work_due_ns < next) next = cpu.work_due_ns;
  if (cpu.context != nullptr) {
    if (cpu.budget_end_ns < next) next = cpu.budget_end_ns;
    // Who waits below the current thread may have a better place on another CPU.
    const bool shares = cpu.scheduler.ready_count() != 0 && cpu.machine.cpu_count.load(kRelaxed) > 1;
    if (cpu.quantum_end_ns < next && (shares || cpu.scheduler.contends(*cpu.context))) next = cpu.quantum_end_ns;
  }
  if (next == cpu.timer_set_ns) return;
  cpu.timer_set_ns = next;
  arch::set_timer(cpu, next);
}

// While threads of the real-time class run, deferred work has its turn only now and then.
u32 work_steps(Cpu& cpu) {
  const bool runs = cpu.current != nullptr && cpu.current->phase.status == ThreadStatus::running;
  const bool urgent = cpu.scheduler.has_real_time() || (runs && cpu.context->level >= kRealTimeLevel);
  const u64 due = std::exchange(cpu.work_due_ns, 0);
  if (!urgent) return kWorkSteps;
  const u64 now = cpu.now_ns();
  cpu.work_due_ns = due > now ? due : now + kWorkPatienceNs;
  cpu.timer_stale = true;
  return due == 0 || due > now ? 0 : kWorkSteps;
}

// Deals with everybody else: nothing borrowed is held here. True when there is more to do.
bool serve_others(Cpu& cpu) {
  if (!cpu.machine.orphans.empty()) cpu.machine.orphans.adopt(cpu);
  if (!cpu.tlb.askers.empty()) cpu.tlb.answer(cpu);
  if (cpu.grace.wants_quiesce()) cpu.grace.quiesce(cpu);
  return !cpu.work.empty() && !cpu.work.run(cpu, work_steps(cpu));
}

// The end of every entry: finishes some work, decides who runs, and makes the CPU fit for it.
Thread* leave_kernel(Cpu& cpu) {
  bool work_left = serve_others(cpu);
  if (!work_left) cpu.work_due_ns = 0;
  Thread* next = cpu.current;
  const bool stays_idle = cpu.current == nullptr && cpu.quantum_end_ns == 0 && cpu.scheduler.ready_count() == 0;
  if (!stays_idle && !may_run_on(cpu)) {
    const u64 tsc = cpu.now_tsc();
    const u64 now = cpu.machine.clock.ns_at(tsc);
    cpu.settle(tsc);
    put_back(cpu, now);
    cpu.current = nullptr;
    cpu.reschedule = false;
    next = pick(cpu, tsc);
    cpu.quantum_end_ns = 0;
    if (next != nullptr) {
      cpu.quantum_end_ns = now + (next->quantum_left_ns != 0 ? next->quantum_left_ns : Scheduler::kQuantumNs);
      next->quantum_left_ns = 0;
    }
    cpu.current = next;
    cpu.timer_stale = true;
    cpu.change_context(next == nullptr ? nullptr : next->context, tsc);
    trace(cpu, TraceEvent::switch_to, next, 0);
    if (next != nullptr) {
      next->phase = {ThreadStatus::running};
      ++next->switches;
    }
  }
  if (cpu.timer_stale) set_timer(cpu);
  // Nothing to run: zeroes a page ahead of demand, one at a time.
  if (next == nullptr && !work_left) work_left = cpu.machine.frames.zero_ahead(cpu);
  if (next == nullptr && !work_left) {
    cpu.thief.look_for_work();
    cpu.go_idle();
    work_left = FastScheduling::is_wanted(cpu);  // whoever came before that has sent an interrupt, or finds us idle
  }
  if (work_left && (next == nullptr || cpu.work_due_ns == 0 || cpu.work.has_inbox())) arch::interrupt_self(cpu);
  if (next != nullptr && cpu.loaded != next) arch::load_thread(cpu, *next);
  return next;
}

bool is_overrun(const Thread& t) {
  return t.fault.kind == FaultKind::illegal_instruction && t.state.rax == kStackOverrunMark;
}

void report_crash(Cpu& cpu, const Thread& t, const char* what) {
  const Process& p = *t.process;
  u32 length = 0;
  while (length < sizeof(p.name().text) && p.name().text[length] != 0) ++length;
  log_format(cpu, LogLevel::notice, "crash: {} (pid {}): {} at address {:#x} by the instruction at {:#x}, stack {:#x}",
             std::string_view(p.name().text, length), p.id(), what, t.fault.address,
             is_overrun(t) ? t.state.rdi : t.state.rip, t.state.rsp);
}

const char* describe(const Thread& t) {
  if (is_overrun(t)) return "a buffer on the stack was overrun";
  if (t.fault.kind != FaultKind::page) return fault_name(t.fault.kind);
  if ((t.fault.detail & 16) != 0) return "execution of memory that is not code";
  return (t.fault.detail & 2) != 0 ? "bad write" : "bad read";
}

void deliver_fault(Cpu& cpu, Thread& t) {
  const auto handler = t.process->handler(cpu);
  if (!handler.port || !handler.port->has_receiver_right()) {
    report_crash(cpu, t, describe(t));
    t.process->kill(cpu, kFaultStatus | u64(t.fault.kind));
  } else if (handler.port->home() != &cpu) {
    t.depart(cpu, *handler.port->home(), Thread::Travel::fault);
  } else {
    handler.port->deliver_fault(cpu, t, handler.badge);
  }
}

Thread* fault(Cpu& cpu, FaultKind kind, u64 address, u64 detail) {
  Thread& t = *cpu.current;
  t.fault = {kind, address, detail};
  t.process->count_fault();
  trace(cpu, TraceEvent::fault, &t, u8(kind), address);
  deliver_fault(cpu, t);
  return leave_kernel(cpu);
}

}  // namespace

Thread* carry_out_call(Cpu& cpu) {
  Thread& t = *cpu.current;
  CallContext c(cpu, t);
  const u8 number = u8(t.state.rax);
  const u64 capability = t.state.rdi;
  c.dispatch();
  trace(cpu, TraceEvent::call, &t, number, capability, u16(t.state.rax & 0xff));
  Thread* next = leave_kernel(cpu);
  if constexpr (kParanoidChecks) cpu.machine.platform.sample_invariants(cpu, capability);
  return next;
}

void visit(Cpu& cpu, Thread& thread) {
  thread.phase = {ThreadStatus::running};
  CallContext c(cpu, thread);
  c.dispatch();
  if (thread.is_here(cpu) && thread.phase.status == ThreadStatus::running) thread.make_ready(cpu);
}

void visit_with_fault(Cpu& cpu, Thread& thread) {
  thread.phase = {ThreadStatus::running};
  deliver_fault(cpu, thread);
  // It is running still when its process is going.
  if (thread.is_here(cpu) && thread.phase.status == ThreadStatus::running) thread.make_ready(cpu);
}

Thread* enter_page_fault(Cpu& cpu, u64 address, u64 detail) {
  Thread& t = *note_loaded(cpu);
  Access access = (detail & 16) != 0 ? Access::execute : (detail & 2) != 0 ? Access::write : Access::read;
  if (t.space->handle_fault(cpu, VirtAddr(address), access).has_value()) return leave_kernel(cpu);
  return fault(cpu, FaultKind::page, address, detail);
}

Thread* enter_exception(Cpu& cpu, FaultKind kind, u64 detail) {
  (void)note_loaded(cpu);
  return fault(cpu, kind, 0, detail);
}

Thread* enter_interrupt(Cpu& cpu, u32 vector) {
  (void)note_loaded(cpu);
  trace(cpu, TraceEvent::interrupt, cpu.current, u8(vector));
  if (Interrupt* interrupt = cpu.machine.interrupts.at(vector)) interrupt->fire(cpu);
  return leave_kernel(cpu);
}

Thread* enter_timer(Cpu& cpu) {
  (void)note_loaded(cpu);
  const u64 tsc = cpu.now_tsc();
  const u64 now = cpu.machine.clock.ns_at(tsc);
  cpu.timer_set_ns = Cpu::kNever;
  cpu.timer_stale = true;
  (void)cpu.timers.run(cpu, now, kTimersPerEntry);
  if (cpu.context != nullptr && now >= cpu.budget_end_ns) {
    cpu.settle(tsc);
    if (cpu.context->account->exhausted(cpu, tsc) != nullptr) {
      cpu.reschedule = true;
    } else {
      cpu.change_context(cpu.context, tsc);  // another slice
    }
  }
  if (cpu.current != nullptr && now >= cpu.quantum_end_ns) {
    if (cpu.scheduler.ready_count() != 0) cpu.thief.share(now);
    if (cpu.scheduler.contends(*cpu.context)) {
      cpu.reschedule = true;
    } else {
      cpu.quantum_end_ns = now + Scheduler::kQuantumNs;
    }
  }
  return leave_kernel(cpu);
}

Thread* enter_self_interrupt(Cpu& cpu) {
  (void)note_loaded(cpu);
  return leave_kernel(cpu);
}
Thread* finish_entry(Cpu& cpu) { return leave_kernel(cpu); }
Thread* enter_first(Cpu& cpu) { return leave_kernel(cpu); }

}  // namespace keel
