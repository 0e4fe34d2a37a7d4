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
class Thread;

inline constexpr u32 kMaxCpus = 64;

class Cpu {
 public:
  Cpu(Machine& machine, u32 index) : machine(machine), index(index) {}

  // What the entry code reads at fixed offsets comes first.
  arch::CpuState arch;

  Thread* current = nullptr;             // runs in user mode, or made the entry; null when idle
  TraceRing trace;                       // what it did last
  SchedulingContext* context = nullptr;  // pays for the current thread; null when idle
  AddressSpace* space = nullptr;         // whose page tables are loaded; published before they are
  Thread* loaded = nullptr;              // whose FS base and vector state are in the registers
  bool reschedule = false;               // something that should run before `current` became ready
  bool timer_stale = true;               // the hardware timer may not fit the timer queue and the quantum any more
  u64 context_since = 0;                 // time stamp up to which `context` has been charged
  u64 quantum_end_ns = 0;
  u64 timer_set_ns = ~u64{0};  // what the hardware timer is set to

  Machine& machine;
  u32 index;
  Scheduler scheduler;
  TimerQueue timers;
  WorkQueue work;
  Magazines magazines;

#ifdef KEEL_LOCK_CHECKER
  u32 held_count = 0;
  SpinLock* held[16] = {};
#endif

  u64 now_tsc();
  u64 now_ns();
  // Charges the time since the last change to `context`, then lets `next` pay.
  void change_context(SchedulingContext* next);
};

}  // namespace keel
