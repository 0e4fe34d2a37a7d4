#include "kernel/core/cpu.h"

#include <arch/context.h>

#include "kernel/core/machine.h"

namespace keel {

u64 Cpu::now_tsc() { return arch::read_clock(*this); }
u64 Cpu::now_ns() { return machine.clock.ns_at(now_tsc()); }

void Cpu::change_context(SchedulingContext* next) {
  u64 now = now_tsc();
  if (context != nullptr) context->consumed += now - context_since;
  context_since = now;
  context = next;
}

}  // namespace keel
