// What the portable kernel asks of the processor that it runs on; see the same header of x86_64.
#pragma once

#include "kernel/core/cpu.h"
#include "kernel/core/thread.h"
#include "kernel/mm/address_space.h"

namespace keel::arch {

// Time passes by being looked at, so that no two events are at the same time.
inline u64 read_clock(Cpu& cpu) { return ++cpu.arch.clock; }
inline void set_timer(Cpu& cpu, u64 deadline_ns) { cpu.arch.timer_ns = deadline_ns; }
inline void interrupt_self(Cpu& cpu) { cpu.arch.interrupt_pending = true; }
inline void unload_thread(Cpu& cpu) { cpu.loaded = nullptr; }
inline void load_thread(Cpu& cpu, Thread& next) {
  if (cpu.space != next.space) next.space->activate(cpu);
  cpu.loaded = &next;
}
inline void leave_space(Cpu& cpu) { cpu.space = nullptr; }
// The holder of the lock may be a thread that does not run.
void relax();

}  // namespace keel::arch
