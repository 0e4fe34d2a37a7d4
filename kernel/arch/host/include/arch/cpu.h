// A simulated processor: a clock that only tests move, and what the kernel asked of the hardware.
#pragma once

#include "base/atomic.h"
#include "base/types.h"

namespace keel::arch {

struct CpuState {
  u64 clock = 0;                // time stamp counter; tests advance it
  u64 clock_step = 0;           // and so does each reading, by this
  u64 timer_ns = ~u64{0};       // what the timer was set to
  bool self_interrupt = false;  // asked for and not yet taken
  Atomic<bool> ipi{false};      // from another CPU, not yet taken
  u64 address_space_loads = 0;
  u32 unmasked_lines = 0;  // of the machine; the first CPU's is used
};

}  // namespace keel::arch
