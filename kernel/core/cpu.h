// Cpu: all that belongs to one processor. There is no this_cpu(): kernel entry is a function of (CPU, event), so the
// Cpu is an argument everywhere (law 10), and a simulated machine has as many as it likes.
#pragma once

#include <arch/cpu.h>

#include "base/types.h"
#include "kernel/core/lock.h"
#include "kernel/core/scheduler.h"
#include "kernel/core/timer_queue.h"
#include "kernel/core/work.h"
#include "kernel/mm/magazines.h"
#include "kernel/trace/trace.h"

namespace keel {

class AddressSpace;
class Machine;
class SchedulingContext;
class Thread;

inline constexpr u32 kMaxCpus = 64;

class Cpu {
 public:
  Cpu(Machine& machine, u32 index) : machine(machine), index(index) {}

  // What the entry code in <arch/...> reads at fixed offsets comes first.
  arch::CpuState arch;

  Thread* current = nullptr;               // runs in user mode, or made the entry; null when idle
  SchedulingContext* context = nullptr;    // pays for the current thread
  AddressSpace* space = nullptr;           // whose page tables are loaded; published before they are
  Machine& machine;
  u32 index;
  Scheduler scheduler;
  TimerQueue timers;
  WorkQueue work;
  Magazines magazines;
  TraceRing trace;

#ifdef KEEL_LOCK_CHECKER
  u32 held_count = 0;
  SpinLock* held[16] = {};
#endif
};

}  // namespace keel
