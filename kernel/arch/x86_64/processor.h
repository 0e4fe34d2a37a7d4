// Setting a CPU up: descriptor tables, entry points, vector state, interrupt controller, timer.
#pragma once

#include <arch/start.h>

#include <span>

#include "base/result.h"
#include "kernel/core/cpu.h"

namespace keel::arch {

// The boot CPU's part of start-up: both functions below, and what the CPUs have in common. Errors: no_memory,
// not_supported.
Result<void> set_up_boot_processor(Cpu& cpu, PhysAddr first_page);
// What a CPU whose Cpu starts at `first_page` needs to run user code: stacks, GDT, IDT, TSS, the dispatch table. Done
// by the boot CPU for every CPU. Errors: no_memory.
Result<void> prepare_processor(Cpu& boot_cpu, Cpu& cpu, PhysAddr first_page);
// Loads that into the CPU that runs this, with SYSCALL and XSAVE.
void load_processor(Cpu& cpu);
// Further CPUs, by the numbers of their local APICs: they join while user space is starting. Errors: no_memory.
Result<void> start_other_cpus(Cpu& boot_cpu, std::span<const u32> apic_ids);
u32 local_apic_id();
void enable_local_apic(Cpu& cpu);
void send_init(u32 apic_id);
void send_startup(u32 apic_id, u32 page);
void send_unmaskable(u32 apic_id);
// Whether the CPU's calls that carry messages take the general way. Any CPU may say so: a path is one word.
void route_message_paths(Cpu& cpu, bool general);
// Of two that wait the higher comes first. What a CPU has left over comes after everything else, else its steps would
// keep timers and devices waiting: below the vectors of devices. The others are above those.
inline constexpr u32 kSelfVector = 0x2e;
inline constexpr u32 kTimerVector = 0xf0;
inline constexpr u32 kIpiVector = 0xf2;
inline constexpr u32 kSpuriousVector = 0xff;
void end_of_interrupt();

// Functions that are running when it changes must not be protected, or never return.
void set_stack_canary(u64 random);

[[noreturn]] void panic_from_trap(Cpu& cpu, u64* frame);

}  // namespace keel::arch
