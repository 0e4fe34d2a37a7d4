#include "kernel/core/cpu.h"

#include <arch/context.h>

#include "kernel/core/machine.h"
#include "kernel/mm/address_space.h"

namespace keel {

void Cpu::send(Cpu& to, Work& item) {
  if (&to == this) {
    work.push_mail(item);
  } else if (to.work.post(item)) {
    arch::interrupt_cpu(*this, to);
  }
}

void Cpu::go_idle() { machine.busy.remove(index); }
void Cpu::leave_idle() { machine.busy.add(index); }

void Cpu::note_space(const Thread& thread) { thread.space->cpus.add(index); }

u64 Cpu::now_tsc() { return arch::read_clock(*this); }
u64 Cpu::now_ns() { return machine.clock.ns_at(now_tsc()); }

void Cpu::change_context(SchedulingContext* next) {
  u64 now = now_tsc();
  if (context != nullptr) context->consumed += now - context_since;
  context_since = now;
  context = next;
  if (next == nullptr || current == nullptr) return;
  // The current thread goes on at another level: somebody who waited may be above it now, or beside it.
  timer_stale = true;
  if (scheduler.top_level() > i32(next->level)) reschedule = true;
}

}  // namespace keel
