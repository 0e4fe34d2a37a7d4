// What the runtime needs of the processor beside system calls; each architecture has its machine.cc.
#pragma once

#include "base/types.h"

namespace keel {

struct ThreadBlock;

// Makes this_thread() find the block on the calling thread.
void set_thread_pointer(ThreadBlock& block);
// The counter that the time page scales.
u64 read_counter();

}  // namespace keel
