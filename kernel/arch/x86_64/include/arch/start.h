// Start-up of the machine that the kernel runs on; each is called once, in this order.
#pragma once

#include <string_view>

#include "base/result.h"
#include "kernel/platform/boot_info.h"

namespace keel {
class Cpu;
class Machine;
class Thread;
}  // namespace keel

namespace keel::arch {

// Storage for the machine and its boot CPU is part of the kernel's image; this constructs them there.
Machine& make_machine();
Cpu& make_boot_cpu(Machine& machine);
// Stacks, descriptor tables, entry points, vector state. Errors: no_memory, not_supported.
Result<void> initialise_boot_processor(Cpu& cpu);
// Finds the interrupt controllers and clocks in the ACPI tables, masks all lines, calibrates the timers and sets the
// machine's clock. Errors: not_found (no interrupt table), no_memory, not_supported (nothing to calibrate against).
Result<void> initialise_interrupts(Cpu& cpu, const BootInfo& boot);
// Begins to start the other CPUs, which join while user space runs. Errors: no_memory (those that were prepared join).
Result<void> start_cpus(Cpu& cpu);
// Seconds since 1970 by the machine's clock, taken to hold the time in UTC, 2000 to 2099; 0 if there is none.
u64 read_wall_clock();
// For tests: with break=WHAT (canary, text, memory, invariant, hang) on the command line the kernel breaks itself, soon
// after start-up, so that what must notice can show that it does. Profiles with paranoid checks only.
void prepare_sabotage(Cpu& cpu, std::string_view what);
// Runs the thread, or idles when it is null; never returns.
[[noreturn]] void run(Cpu& cpu, Thread* first);

}  // namespace keel::arch
