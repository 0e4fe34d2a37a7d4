// The fast paths, each for the common case; anything else goes the slow way (Port, Notification, entry.cc), which does
// the same in full.
//
// call, reply_receive   a server waits, or the caller does; no deadline (fast.cc)
// signal, wait, yield   nobody waits, or one who can run; wait and yield: somebody else can run (fast_events.cc)
// derive                fewer rights at most (fast_capabilities.cc)
// interrupt             edge-triggered, a thread above the running one waits for it (fast_events.cc)
//
// Always: every thread concerned is of this CPU and has no flag set.
//
// Written so that nothing is saved and nothing called: arguments arrive and leave in the ABI's registers, every
// exception is a jump to the slow path before anything has changed. docs/subsystems/ipc.md says where each instruction
// goes.
#pragma once

#include <arch/fast.h>

namespace keel {

extern "C" {
KEEL_FAST void fast_call(KEEL_FAST_PARAMETERS);
KEEL_FAST void fast_reply_receive(KEEL_FAST_PARAMETERS);
KEEL_FAST void fast_signal(KEEL_FAST_PARAMETERS);
KEEL_FAST void fast_wait(KEEL_FAST_PARAMETERS);
KEEL_FAST void fast_yield(KEEL_FAST_PARAMETERS);
KEEL_FAST void fast_derive(KEEL_FAST_PARAMETERS);
// The registers of the interrupted thread are in its state, but for vector state; target = vector.
KEEL_FAST void fast_interrupt(KEEL_FAST_PARAMETERS);

// The same after a record in the CPU's trace ring: which of the two is called is decided when a CPU is set up, so that
// not tracing costs nothing. The calls' are in <arch/...>.
KEEL_FAST void traced_call(KEEL_FAST_PARAMETERS);
KEEL_FAST void traced_reply_receive(KEEL_FAST_PARAMETERS);
KEEL_FAST void traced_signal(KEEL_FAST_PARAMETERS);
KEEL_FAST void traced_wait(KEEL_FAST_PARAMETERS);
KEEL_FAST void traced_yield(KEEL_FAST_PARAMETERS);
KEEL_FAST void traced_derive(KEEL_FAST_PARAMETERS);
KEEL_FAST void traced_interrupt(KEEL_FAST_PARAMETERS);
}

}  // namespace keel
