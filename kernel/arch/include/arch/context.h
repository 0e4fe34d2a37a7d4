// What the portable kernel asks of the processor that it runs on.
#pragma once

#include "base/types.h"

namespace keel {
class Cpu;
class Thread;
}  // namespace keel

namespace keel::arch {

// The time stamp counter.
u64 read_clock(Cpu& cpu);
// Sets the one-shot timer of this CPU to a time in nanoseconds since boot; all ones stops it. May go off early.
void set_timer(Cpu& cpu, u64 deadline_ns);
// Enters the kernel again as soon as user mode or idle lets interrupts in.
void interrupt_self(Cpu& cpu);
// Makes another CPU enter the kernel, by enter_ipi(), as soon as it lets interrupts in.
void interrupt_cpu(Cpu& from, Cpu& to);
// Starts the CPUs that wait to be started, on the boot CPU; if none does, does nothing.
void hasten_cpus(Cpu& boot_cpu);
// Brings a thread's FS and GS base, vector state and address space into the CPU, after saving what was there.
void load_thread(Cpu& cpu, Thread& next);
// Saves what is in the CPU of cpu.loaded into its state; nothing is loaded afterwards.
void unload_thread(Cpu& cpu);
// Leaves a user address space that is going away.
void leave_space(Cpu& cpu);
// Inside a spin loop.
void relax();

}  // namespace keel::arch
