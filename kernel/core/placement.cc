#include "kernel/core/placement.h"

#include <arch/context.h>

#include "kernel/core/machine.h"
#include "kernel/ipc/port.h"

namespace keel {
namespace {

u32 load_of(const Cpu& cpu) { return cpu.scheduler.ready_count() + (cpu.machine.busy.has(cpu.index) ? 1 : 0); }

// The thread that a CPU can spare for another, or null.
Thread* spare_thread(Cpu& cpu, const Cpu& thief) {
  return cpu.scheduler.find([&](const Thread& t) {
    return t.caller == nullptr && t.may_run_on(thief) && !t.has_flags(~u32{0}) && t.context == &t.own_context &&
           !t.reservation && t.borrower == nullptr && t.lender == nullptr && !Scheduler::is_parked(t);
  });
}

}  // namespace

Cpu& choose_cpu(Cpu& here, const Thread& thread) {
  Machine& machine = here.machine;
  const u32 count = machine.cpu_count.load(kAcquire);
  Cpu* best = thread.may_run_on(here) ? &here : nullptr;
  u32 least = best != nullptr ? load_of(here) : ~u32{0};
  for (u32 i = 0; i < count && least > 0; ++i) {
    Cpu& other = *machine.cpus[i];
    if (&other == &here || !thread.may_run_on(other)) continue;
    const u32 load = load_of(other);
    if (best == nullptr || load < least) {
      best = &other;
      least = load;
    }
  }
  return best != nullptr ? *best : here;
}

Result<void> set_affinity(Cpu& here, Thread& thread, u64 mask) {
  bool possible = false;
  for (u32 i = 0; i < here.machine.cpu_count.load(kAcquire); ++i) possible = possible || (mask >> i % 64 & 1) != 0;
  if (!possible) return Status::invalid_argument;
  thread.affinity = mask;
  obey_affinity(here, thread);
  return {};
}

void obey_affinity(Cpu& here, Thread& thread) {
  if (thread.may_run_on(*thread.run_on) || thread.run_on != &here) return;
  if (thread.has_flags(Thread::kMoving)) return;                                             // make_ready() sees to it
  if (thread.reservation) return;                                                            // it is one CPU's
  if (thread.caller != nullptr || thread.callee != nullptr || thread.borrower != nullptr) {  // their link is local
    thread.set_flags(Thread::kMustMove);
    return;
  }
  thread.clear_flags(Thread::kMustMove);
  Cpu& to = choose_cpu(here, thread);
  if (&to == &here) return;
  switch (thread.status()) {
    case ThreadStatus::running:
      here.reschedule = true;  // leave_kernel() sends it there
      break;
    case ThreadStatus::ready:
      here.scheduler.remove(thread);
      thread.phase = {ThreadStatus::waiting, WaitKind::stopped};  // in no queue
      thread.leave_port();
      thread.run_at(here, to);
      thread.depart(here, to, Thread::Travel::ready);
      break;
    case ThreadStatus::fresh:
      thread.assign(here, to);
      break;
    case ThreadStatus::waiting:
      if (thread.waits_for(WaitKind::receive)) thread.receiving_from().step_back(thread);
      [[fallthrough]];
    default:
      thread.leave_port();
      thread.run_at(here, to);  // what it waits for stays where it is: make_ready() sends it
      break;
  }
}

void Thief::look_for_work() {
  if (out_) return;
  Machine& machine = owner_.machine;
  Cpu* victim = nullptr;
  u32 most = 0;
  for (u32 i = 0; i < machine.cpu_count.load(kAcquire); ++i) {
    Cpu& other = *machine.cpus[i];
    if (&other == &owner_ || other.scheduler.ready_count() <= most) continue;
    most = other.scheduler.ready_count();
    victim = &other;
  }
  if (victim == nullptr) return;
  out_ = true;
  owner_.send(*victim, *this);
}

void Thief::arrive(Cpu& cpu) {
  if (&cpu == &owner_) {
    out_ = false;
    return;
  }
  if (Thread* thread = spare_thread(cpu, owner_)) {
    cpu.scheduler.remove(*thread);
    thread->leave_port();
    thread->run_at(cpu, owner_);
    thread->depart(cpu, owner_, Thread::Travel::ready);
  }
  cpu.send(owner_, *this);
}

void share_load(Cpu& cpu) {
  Machine& machine = cpu.machine;
  for (u32 i = 0; i < machine.cpu_count.load(kAcquire); ++i) {
    if (machine.busy.has(i)) continue;
    arch::interrupt_cpu(cpu, *machine.cpus[i]);  // it looks around before it sleeps again
    return;
  }
}

}  // namespace keel
