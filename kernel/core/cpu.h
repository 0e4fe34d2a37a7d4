// Cpu: all that belongs to one processor. There is no this_cpu(): kernel entry is a function of (CPU, event), so the
// Cpu is an argument everywhere (law 10), and a simulated machine has as many as it likes.
#pragma once

#include <arch/cpu.h>

#include "base/types.h"
#include "kernel/cap/node.h"
#include "kernel/core/cpu_set.h"
#include "kernel/core/grace.h"
#include "kernel/core/lock.h"
#include "kernel/core/placement.h"
#include "kernel/core/scheduler.h"
#include "kernel/core/timer_queue.h"
#include "kernel/core/work.h"
#include "kernel/mm/magazines.h"
#include "kernel/mm/tlb_batch.h"
#include "kernel/trace/trace.h"

namespace keel {

class AddressSpace;
class Machine;
class Thread;

class Cpu {
 public:
  Cpu(Machine& machine, u32 index) : machine(machine), index(index) {}

  // What the entry code reads at fixed offsets comes first.
  arch::CpuState arch;

  Thread* current = nullptr;             // runs in user mode, or made the entry; null when idle
  SchedulingContext* context = nullptr;  // pays for the current thread; null when idle
  Atomic<AddressSpace*> space{nullptr};  // whose page tables are loaded; published before they are
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
  Grace grace;
  RetiredNodes nodes;
  TlbRequests tlb;
  Thief thief{*this};
  Magazines magazines;
  TraceRing trace;

#ifdef KEEL_LOCK_CHECKER
  u32 held_count = 0;
  SpinLock* held[16] = {};
#endif

  // Makes `item` arrive at `to`, which may be this CPU.
  void send(Cpu& to, Work& item);
  // A CPU without a thread to run is idle: it may be asleep, and reads nothing of what others may free. Back at work it
  // says so before it reads anything.
  void go_idle();
  void leave_idle();
  // A thread is going to run here: its address space may be loaded here from now on.
  void note_space(const Thread& thread);

  u64 now_tsc();
  u64 now_ns();
  // Charges the time since the last change to `context`, then lets `next` pay.
  void change_context(SchedulingContext* next);
};

}  // namespace keel
