// The fast paths of call, reply_receive and notification_signal, for the common case: a server waits (or the caller
// does), everything on this CPU, at most eight words, no capability, no deadline. Anything else goes the way of Port,
// which does the same in full.
//
// Written so that nothing is saved and nothing called: arguments arrive and leave in the ABI's registers, every
// exception is a jump to the slow path before anything has changed. docs/subsystems/ipc.md says where each instruction
// goes.
#pragma once

#include <arch/fast.h>

namespace keel {

KEEL_FAST void fast_call(KEEL_FAST_PARAMETERS);
KEEL_FAST void fast_reply_receive(KEEL_FAST_PARAMETERS);
KEEL_FAST void fast_signal(KEEL_FAST_PARAMETERS);

}  // namespace keel
