// Kernel entry: a function of (CPU, event) that says what to run next (law 10). The entry code in <arch/...> saves the
// registers of cpu.current, calls one of these, and resumes the thread that it answers; null means idle.
#pragma once

#include "abi/types.h"

namespace keel {

class Cpu;
class Thread;

// cpu.current made a system call that the fast path (kernel/ipc/fast.cc) did not finish; its registers are in its
// state.
Thread* enter_system_call(Cpu& cpu);  // fast_remote.cc
Thread* carry_out_call(Cpu& cpu);
// cpu.current touched `address` and the hardware objected. detail: bit 0 present, bit 1 write, bit 4 instruction fetch.
Thread* enter_page_fault(Cpu& cpu, u64 address, u64 detail);
// cpu.current raised another exception.
Thread* enter_exception(Cpu& cpu, FaultKind kind, u64 detail);
// A device or message interrupt. The hardware is acknowledged already. May come while idle.
Thread* enter_interrupt(Cpu& cpu, u32 vector);
// The timer went off, or the CPU interrupted itself to go on with its work.
Thread* enter_timer(Cpu& cpu);
Thread* enter_self_interrupt(Cpu& cpu);
// Another CPU wants something: its mail, or an answer, is looked at as at the end of every entry.
Thread* enter_ipi(Cpu& cpu);  // fast_remote.cc
// A fast path has made cpu.current another thread and has not set the timer, nor loaded registers that a call does not
// keep; cpu.loaded is the thread before.
Thread* finish_entry(Cpu& cpu);
// Start-up is over: the first thread.
Thread* enter_first(Cpu& cpu);

// Carries out the system call of a thread that has come here for it (ADR 7), or delivers its fault.
void visit(Cpu& cpu, Thread& thread);
void visit_with_fault(Cpu& cpu, Thread& thread);

}  // namespace keel
