// Checks of invariants at run time: of what a system call has just had in hand, each in bounded time.
#pragma once

#include "base/types.h"

namespace keel {

class Cpu;

// At the end of a system call that named `capability`, on the calling CPU: the name of the first invariant of
// docs/invariants.md that does not hold, or null. About 300 instructions.
const char* find_broken_invariant(Cpu& cpu, u64 capability);

}  // namespace keel
