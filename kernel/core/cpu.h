// Cpu: all that belongs to one processor. There is no this_cpu(): kernel entry is a function of (CPU, event), so the
// Cpu is an argument everywhere (law 10), and a simulated machine has as many as it likes.
#pragma once

#include <arch/cpu.h>

#include "base/types.h"
#include "kernel/cap/audit.h"
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
  TraceRing trace;                       // what it did last
  SchedulingContext* context = nullptr;  // pays for the current thread; null when idle
  Atomic<AddressSpace*> space{nullptr};  // whose page tables are loaded; published before they are
  Thread* loaded = nullptr;              // whose FS base and vector state are in the registers
  bool reschedule = false;               // something that should run before `current` became ready
  bool timer_stale = true;               // the hardware timer may not fit the timer queue and the quantum any more
  u64 context_since = 0;                 // time stamp up to which `context`, or idling, has been charged
  u64 quantum_end_ns = 0;                // 0: it is idle, or the current thread gives up what is left
  u64 work_due_ns = 0;                   // when deferred work has a turn although threads of the real-time class run
  u64 budget_end_ns = kNever;            // when the context's account must be asked whether it may run on
  u64 timer_set_ns = kNever;             // what the hardware timer is set to
  u64 idle_tsc = 0;                      // time stamps that were charged to nobody
  u64 reserved_ppm = 0;                  // millionths of this CPU that real-time reservations hold
  static constexpr u64 kNever = ~u64{0};

  Machine& machine;
  u32 index;
  u32 node = 0;  // NUMA: what is near
  Scheduler scheduler{*this};
  TimerQueue timers;
  WorkQueue work;
  Grace grace;
  RetiredNodes nodes;
  TlbRequests tlb;
  Thief thief{*this};
  Magazines magazines;
  AuditRing audit;

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

  // Charges the time since the last charge to `context`. All that a path of its own must do that changes `context` is
  // this, then `context = next`, and it may do so only
  //   - from one context to another of the same account (context->account == next->account: same group, same
  //     reservation, same budget, so neither virtual times nor the budget's end change), and
  //   - when it leaves `current`, the states and the queues as the rest of the kernel expects them (Thread I1-I4), sets
  //     quantum_end_ns, and timer_stale unless nobody contends.
  // Everything else goes through change_context.
  [[gnu::always_inline]] void charge(u64 now) {
    if (now < context_since) [[unlikely]]
      return;  // it was read before the last charge
    const u64 time = now - context_since;
    context_since = now;
    if (context == nullptr) {
      idle_tsc += time;
      return;
    }
    context->consumed += time;
    context->account->used += time;
  }
  // Charges, and brings what groups have used and virtual times up to date. With nobody to share with, those of the
  // root group wait until somebody comes (Scheduler::come_back).
  void settle(u64 now) {
    if (context == nullptr || (context->account->parent == nullptr && !scheduler.is_shared())) return;
    charge(now);
    scheduler.settle(*context->account);
  }
  // For who wants to read accounts: all time up to now is in them.
  void bring_accounts_up_to_date();
  // Settles, then lets `next` pay; null: nobody runs.
  void change_context(SchedulingContext* next) { change_context(next, now_tsc()); }
  void change_context(SchedulingContext* next, u64 now);
};

}  // namespace keel
