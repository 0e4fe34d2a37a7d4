// What entry.cc, Scheduler and Cpu do when a CPU changes threads, in line for the fast paths (kernel/ipc/fast*.cc): no
// call, one time stamp a switch. Each function names what it equals; a change there is one here.
//
// Rely on: user mode ran, so reschedule and timer_stale are false, and no ready thread is above the running one. One
// account pays for both threads, which no budget limits, and no other group has queued threads of the normal class.
#pragma once

#include <arch/fast_switch.h>

#include "kernel/core/cpu.h"
#include "kernel/core/machine.h"
#include "kernel/core/thread.h"

namespace keel {

class FastScheduling {
 public:
  // Whether the rules of this file hold for two threads, the running one and one that runs on `other`.
  [[gnu::always_inline]] static bool plain(const Cpu& cpu, const SchedulingContext& other) {
    const Account* account = cpu.context->account;
    return account == other.account && account->queue == cpu.scheduler.sole_ && cpu.budget_end_ns == Cpu::kNever;
  }
  // Scheduler::enqueue_back()
  [[gnu::always_inline]] static void enqueue_back(Scheduler& s, Thread& t) {
    ReadyList& to = *t.context->list;
    Thread* last = to.last;
    t.ready_link = {.previous = last, .list = &to};
    to.last = &t;
    s.count(1);
    if (last != nullptr) {
      last->ready_link.next = &t;
    } else {
      to.first = &t;
      note_first(s, to);
    }
  }
  // Scheduler::enqueue_front()
  [[gnu::always_inline]] static void enqueue_front(Scheduler& s, Thread& t) {
    ReadyList& to = *t.context->list;
    Thread* first = to.first;
    t.ready_link = {.next = first, .list = &to};
    to.first = &t;
    s.count(1);
    if (first != nullptr) {
      first->ready_link.previous = &t;
    } else {
      to.last = &t;
      note_first(s, to);
    }
  }
  // What Scheduler::pick() would answer if it is plain; null when nothing is ready.
  [[gnu::always_inline]] static Thread* top(Scheduler& s) {
    if (s.ready_ == 0) return nullptr;
    const u32 rank = Scheduler::highest(s.ready_);
    if (rank != kNormalLevel) return s.lists_[rank].first;
    FairQueue* queue = s.sole_;
    return queue == nullptr ? nullptr : queue->lists_[Scheduler::highest(queue->ready_)].first;
  }
  // Scheduler::pick(), where `t` is what it answers.
  [[gnu::always_inline]] static void take_first(Scheduler& s, Thread& t) {
    ReadyList& from = *t.ready_link.list;
    Thread* second = t.ready_link.next;
    from.first = second;
    s.count(-1);
    if (second != nullptr) {
      second->ready_link.previous = nullptr;
      t.ready_link.next = nullptr;
      return;
    }
    from.last = nullptr;
    FairQueue* queue = from.queue;
    if (queue == nullptr) {
      s.ready_ &= ~from.bit;
      return;
    }
    queue->ready_ &= ~u32(from.bit);
    if (queue->ready_ == 0) s.ready_ &= ~(u64{1} << kNormalLevel);
  }
  // enqueue_back(t), then pick() of the same list, which has a thread.
  [[gnu::always_inline]] static void rotate(Thread& t, Thread& first, ReadyList& in) {
    Thread* last = in.last;
    last->ready_link.next = &t;
    t.ready_link = {.previous = last, .list = &in};
    in.last = &t;
    Thread* second = first.ready_link.next;
    // `first` may be the only one: then `t` follows it.
    in.first = second;
    second->ready_link.previous = nullptr;
    first.ready_link.next = nullptr;
  }

  // Cpu::change_context(), for one whose level is not below what is ready. Answers the time in nanoseconds.
  [[gnu::always_inline]] static u64 charge(Cpu& cpu, SchedulingContext& next) {
    const u64 now = arch::fast_clock(cpu);
    __builtin_assume(cpu.context != nullptr);
    cpu.charge(now);
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
  [[gnu::always_inline]] static bool timer_is_right(Cpu& cpu) {
    return cpu.timer_set_ns <= cpu.quantum_end_ns || cpu.context->list->first == nullptr;
  }

  // What others have asked of this CPU and it has not heard yet.
  [[gnu::always_inline]] static bool is_wanted(const Cpu& cpu) {
    return cpu.work.has_mail() || cpu.grace.wants_quiesce() || !cpu.tlb.askers.empty() || !cpu.machine.orphans.empty();
  }

 private:
  // Scheduler::link(), of a list that was empty. Floors are for Scheduler::come_back(), when there are others.
  [[gnu::always_inline]] static void note_first(Scheduler& s, const ReadyList& to) {
    FairQueue* queue = to.queue;
    if (queue == nullptr) {
      s.ready_ |= to.bit;
      return;
    }
    queue->ready_ |= u32(to.bit);
    s.ready_ |= u64{1} << kNormalLevel;
  }
};

}  // namespace keel
