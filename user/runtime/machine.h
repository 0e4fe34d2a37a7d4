// What the runtime needs of the processor beside system calls; each architecture has its machine.cc.
#pragma once

#include "base/types.h"

namespace keel {

struct ThreadBlock;

// Makes this_thread() find the block on the calling thread.
void set_thread_pointer(ThreadBlock& block);
// Functions that are running when it changes must not be protected, or never return.
void set_stack_canary(u64 random);
// The counter that the time page scales.
u64 read_counter();

}  // namespace keel
