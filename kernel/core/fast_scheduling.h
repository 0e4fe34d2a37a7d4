// What entry.cc, Scheduler and Cpu do when a CPU changes threads, in line for the fast paths (kernel/ipc/fast*.cc): no
// call, one time stamp a switch. Each function names what it equals; a change there is one here.
//
// Rely on: user mode ran, so reschedule and timer_stale are false, and no ready thread is above the running one.
#pragma once

#include <arch/fast_switch.h>

#include "kernel/core/cpu.h"
#include "kernel/core/machine.h"
#include "kernel/core/thread.h"

namespace keel {

class FastScheduling {
 public:
  // Scheduler::enqueue_back()
  [[gnu::always_inline]] static void enqueue_back(Scheduler& s, Thread& t) {
    const u32 level = t.context->level;
    Thread* last = s.tails_[level];
    t.ready_link = {.next = nullptr, .previous = last, .level = level};
    (last != nullptr ? last->ready_link.next : s.heads_[level]) = &t;
    s.tails_[level] = &t;
    s.ready_ |= u64{1} << level;
    s.count(1);
  }
  // Scheduler::enqueue_front()
  [[gnu::always_inline]] static void enqueue_front(Scheduler& s, Thread& t) {
    const u32 level = t.context->level;
    Thread* first = s.heads_[level];
    t.ready_link = {.next = first, .previous = nullptr, .level = level};
    (first != nullptr ? first->ready_link.previous : s.tails_[level]) = &t;
    s.heads_[level] = &t;
    s.ready_ |= u64{1} << level;
    s.count(1);
  }
  // The first ready thread of the level, or null.
  static Thread* first(const Scheduler& s, u32 level) { return s.heads_[level]; }
  // Scheduler::pick(), where `t` is known to be first of the highest level.
  [[gnu::always_inline]] static void take_first(Scheduler& s, Thread& t) {
    const u32 level = t.ready_link.level;
    Thread* second = t.ready_link.next;
    s.heads_[level] = second;
    s.count(-1);
    if (second != nullptr) {
      second->ready_link.previous = nullptr;
      t.ready_link.next = nullptr;
    } else {
      s.tails_[level] = nullptr;
      s.ready_ &= ~(u64{1} << level);
    }
  }
  // enqueue_back(t), then pick() of the same level, which has a thread.
  [[gnu::always_inline]] static void rotate(Scheduler& s, Thread& t, Thread& first, u32 level) {
    Thread* last = s.tails_[level];
    last->ready_link.next = &t;
    t.ready_link = {.next = nullptr, .previous = last, .level = level};
    s.tails_[level] = &t;
    Thread* second = first.ready_link.next;
    s.heads_[level] = second;
    second->ready_link.previous = nullptr;
    first.ready_link.next = nullptr;
  }

  // Cpu::change_context(), for one whose level is not below what is ready. Answers the time in nanoseconds.
  [[gnu::always_inline]] static u64 charge(Cpu& cpu, SchedulingContext& next) {
    const u64 now = arch::fast_clock(cpu);
    cpu.context->consumed += now - cpu.context_since;
    cpu.context_since = now;
    cpu.context = &next;
    return cpu.machine.clock.ns_at(now);
  }
  // entry.cc, put_back(), of a thread that may run on.
  [[gnu::always_inline]] static void put_back(Cpu& cpu, Thread& t, u64 now_ns) {
    t.phase = {ThreadStatus::ready};
    if (now_ns >= cpu.quantum_end_ns) [[unlikely]] {
      enqueue_back(cpu.scheduler, t);
    } else {
      t.quantum_left_ns = cpu.quantum_end_ns - now_ns;
      enqueue_front(cpu.scheduler, t);
    }
  }
  // entry.cc, leave_kernel(): `next` runs from now on.
  [[gnu::always_inline]] static void run(Cpu& cpu, Thread& next, u64 now_ns) {
    const u64 left = next.quantum_left_ns;
    cpu.quantum_end_ns = now_ns + (left != 0 ? left : Scheduler::kQuantumNs);
    next.quantum_left_ns = 0;
    next.phase = {ThreadStatus::running};
    ++next.switches;
    cpu.current = &next;
  }
  // entry.cc, set_timer(): whether the timer goes off in time for the end of the quantum of a thread of the highest
  // level. It may go off early.
  [[gnu::always_inline]] static bool timer_is_right(const Cpu& cpu) {
    return cpu.timer_set_ns <= cpu.quantum_end_ns || first(cpu.scheduler, cpu.context->level) == nullptr;
  }
};

}  // namespace keel
