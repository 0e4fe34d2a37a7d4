// What a switch on the fast path does on the host: nothing but the bookkeeping.
#pragma once

#include <arch/fast.h>

#include "kernel/core/cpu.h"
#include "kernel/core/thread.h"

namespace keel::arch {

inline void fast_switch(Cpu& cpu, Thread&, Thread& to) {
  cpu.loaded = &to;
  if (cpu.space == to.space) return;
  cpu.space = to.space;
  ++cpu.arch.address_space_loads;
}

}  // namespace keel::arch
