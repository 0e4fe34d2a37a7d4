// The machine's part of a simulated Cpu: its clock and timer are numbers that the test or simulator moves.
#pragma once

#include "base/types.h"

namespace keel::arch {

struct CpuState {
  u64 clock = 0;
  u64 timer_ns = ~u64{0};          // what the one-shot timer is set to; all ones: stopped
  bool interrupt_pending = false;  // interrupt_self() was called
};

}  // namespace keel::arch
