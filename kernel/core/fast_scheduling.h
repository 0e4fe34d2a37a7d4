// What entry.cc, Scheduler and Cpu do when a CPU changes threads, in line for the fast paths (kernel/ipc/fast*.cc): no
// call, one time stamp a switch. Each function names what it equals; a change there is one here.
//
// Rely on: user mode ran, so reschedule and timer_stale are false, and no ready thread is above the running one. Both
// threads are plain(): the root group pays, nobody shares the normal class with it, and no budget limits it.
#pragma once

#include <arch/fast_switch.h>

#include "kernel/core/cpu.h"
#include "kernel/core/machine.h"
#include "kernel/core/thread.h"

namespace keel {

class FastScheduling {
 public:
  // Whether the rules of this file hold for a thread that runs, or is to run, on the context.
  [[gnu::always_inline]] static bool plain(const Cpu& cpu, const SchedulingContext& context) {
    const FairQueue& root = cpu.scheduler.root;
    return context.account == &root.account && root.shares_.is_simple(root.own_);
  }
  // Of a plain level: the list of its ready threads.
  [[gnu::always_inline]] static ReadyList& list(Scheduler& s, u32 level) {
    return Scheduler::is_normal(level) ? s.root.lists_[level - kNormalLevel] : s.lists_[level];
  }
  // Scheduler::enqueue_back(). `to`: list(s, t.context->level)
  [[gnu::always_inline]] static void enqueue_back(Scheduler& s, Thread& t, ReadyList& to) {
    Thread* last = to.last;
    t.ready_link = link(s, t.context->level, to);
    t.ready_link.previous = last;
    (last != nullptr ? last->ready_link.next : to.first) = &t;
    to.last = &t;
    s.count(1);
  }
  // Scheduler::enqueue_front()
  [[gnu::always_inline]] static void enqueue_front(Scheduler& s, Thread& t, ReadyList& to) {
    Thread* first = to.first;
    t.ready_link = link(s, t.context->level, to);
    t.ready_link.next = first;
    (first != nullptr ? first->ready_link.previous : to.last) = &t;
    to.first = &t;
    s.count(1);
  }
  // The first ready thread of a plain level, or null.
  [[gnu::always_inline]] static Thread* first(Scheduler& s, u32 level) { return list(s, level).first; }
  // What Scheduler::pick() would answer, if it is plain; or null.
  [[gnu::always_inline]] static Thread* top(Scheduler& s) {
    if (s.ready_ == 0) return nullptr;
    const u32 rank = Scheduler::highest(s.ready_);
    if (rank != kNormalLevel) return s.lists_[rank].first;
    return s.root.ready_ == 0 ? nullptr : s.root.lists_[Scheduler::highest(s.root.ready_)].first;
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
    const u32 level = t.ready_link.level;
    if (Scheduler::is_normal(level)) {
      s.root.ready_ &= ~(u32{1} << (level - kNormalLevel));
      if (s.root.ready_ != 0) return;
      s.root.shares_.erase_only(s.root.own_);
      s.ready_ &= ~(u64{1} << kNormalLevel);
    } else {
      s.ready_ &= ~(u64{1} << level);
    }
  }
  // enqueue_back(t), then pick() of the same list, which has a thread.
  [[gnu::always_inline]] static void rotate(Thread& t, Thread& first, ReadyList& in) {
    Thread* last = in.last;
    last->ready_link.next = &t;
    const ReadyLink& there = first.ready_link;
    t.ready_link = {.previous = last, .list = &in, .queue = there.queue, .level = there.level};
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
    ReadyList& to = list(cpu.scheduler, t.context->level);
    if (now_ns >= cpu.quantum_end_ns) [[unlikely]] {
      enqueue_back(cpu.scheduler, t, to);
    } else {
      t.quantum_left_ns = cpu.quantum_end_ns - now_ns;
      enqueue_front(cpu.scheduler, t, to);
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
    return cpu.timer_set_ns <= cpu.quantum_end_ns || first(cpu.scheduler, cpu.context->level) == nullptr;
  }

 private:
  // Scheduler::link()
  [[gnu::always_inline]] static ReadyLink link(Scheduler& s, u32 level, ReadyList& to) {
    if (!Scheduler::is_normal(level)) {
      s.ready_ |= u64{1} << level;
      return {.list = &to, .level = level};
    }
    FairQueue& root = s.root;
    root.ready_ |= u32{1} << (level - kNormalLevel);
    if (!root.own_.queued) {
      if (root.own_.time < root.floor_) root.own_.time = root.floor_;
      root.shares_.insert_only(root.own_);
      s.ready_ |= u64{1} << kNormalLevel;
    }
    return {.list = &to, .queue = &root, .level = level};
  }
};

}  // namespace keel
