// The calling convention of the IPC fast paths: the ABI's registers in the order in which the compiler passes
// arguments, so that a message word stays where it is from the sender's SYSCALL to the receiver's SYSRET (ADR 3).
#pragma once

#include "base/types.h"

namespace keel {
class AddressSpace;
class Cpu;
class Thread;
}  // namespace keel

namespace keel::arch {

// Registers: w4-w7 in r12-r15, target (capability in, badge out) in rdi, w0 w1 in rsi rdx, `thread` in rcx (on exit:
// who runs), w2 w3 in r8 r9, cpu in r11, status in rax (call and descriptor in).
#define KEEL_FAST_PARAMETERS                                                                          \
  u64 w4, u64 w5, u64 w6, u64 w7, u64 target, u64 w0, u64 w1, ::keel::Thread *thread, u64 w2, u64 w3, \
      ::keel::Cpu *cpu, u64 status
#define KEEL_FAST_ARGUMENTS w4, w5, w6, w7, target, w0, w1, thread, w2, w3, cpu, status
#define KEEL_FAST [[clang::preserve_none]]

extern "C" {
// Leaves to user mode with the registers as they are, as `thread`.
KEEL_FAST [[gnu::visibility("hidden")]] void entry_fast_exit(KEEL_FAST_PARAMETERS);
// The same as a thread whose registers are in its state, all that a call keeps.
KEEL_FAST [[gnu::visibility("hidden")]] void entry_fast_resume(KEEL_FAST_PARAMETERS);
// Leaves through finish_entry().
KEEL_FAST [[gnu::visibility("hidden")]] void entry_leave(KEEL_FAST_PARAMETERS);
// Hands the interrupt with the vector `target` to the path that handles all.
KEEL_FAST [[gnu::visibility("hidden")]] void entry_slow_interrupt(KEEL_FAST_PARAMETERS);
// The same as the thread that made the call, which named no live capability.
KEEL_FAST [[gnu::visibility("hidden")]] void entry_bad_capability(KEEL_FAST_PARAMETERS);
// Starts the call again on the path that handles everything.
KEEL_FAST [[gnu::visibility("hidden")]] void entry_slow_call(KEEL_FAST_PARAMETERS);
}

}  // namespace keel::arch
