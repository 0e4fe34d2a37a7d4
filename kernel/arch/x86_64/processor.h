// Setting a CPU up: descriptor tables, entry points, vector state, interrupt controller, timer.
#pragma once

#include <arch/start.h>

#include "base/result.h"
#include "kernel/core/cpu.h"

namespace keel::arch {

// Makes `cpu`, whose first page is at `first_page`, ready to run user code: stacks, GDT, IDT, TSS, SYSCALL, XSAVE.
// Errors: no_memory.
Result<void> initialise_processor(Cpu& cpu, PhysAddr first_page);
// Vectors above those of devices.
inline constexpr u32 kTimerVector = 0xf0;
inline constexpr u32 kSelfVector = 0xf1;
inline constexpr u32 kSpuriousVector = 0xff;
void end_of_interrupt();

[[noreturn]] void panic_from_trap(Cpu& cpu, u64* frame);

}  // namespace keel::arch
