// The fast paths that go through the scheduler: yield, signals and waiting for them, interrupts.
//
// Common to all: what is checked comes first and leaves to the slow path; then the words of the caller are dead, for
// the call ends with none of its own, and every register is free.
#include "kernel/core/fast_scheduling.h"
#include "kernel/core/process.h"
#include "kernel/ipc/fast_detail.h"
#include "kernel/object/interrupt.h"
#include "kernel/object/notification.h"

namespace keel {
namespace {

// The call of a thread that gives the CPU up has ended with status ok and zeros.
[[gnu::always_inline]] inline void end_call(Thread& t, u64 word0) {
  t.state.rax = u64(Status::ok);
  t.state.rdi = 0;
  t.state.word[0] = word0;
  for (u32 i = 1; i < kRegisterWords; ++i) t.state.word[i] = 0;
}

bool can_run_here(const Thread& t, const Cpu* cpu) { return !has_flags(t) && t.run_on == cpu; }

}  // namespace

// thread = who runs next, its registers all in its state; the current one has put itself where it belongs. Nothing can
// fail any more.
KEEL_FAST [[gnu::noinline]] static void run_next(KEEL_FAST_PARAMETERS) {
  Thread* from = cpu->current;
  FastScheduling::run(*cpu, *thread, FastScheduling::charge(*cpu, *thread->context));
  if (thread->state.resume != arch::ResumeKind::system_call || !FastScheduling::timer_is_right(*cpu)) [[unlikely]] {
    cpu->loaded = from;
    cpu->timer_stale = true;
    KEEL_FAST_FORGET;
    [[clang::musttail]] return arch::entry_leave(KEEL_FAST_ARGUMENTS);
  }
  arch::forget(status);
  arch::fast_switch(*cpu, *from, *thread, status);
  KEEL_FAST_FORGET;
  [[clang::musttail]] return arch::entry_fast_resume(KEEL_FAST_ARGUMENTS);
}

KEEL_FAST void fast_yield(KEEL_FAST_PARAMETERS) {
  thread = cpu->current;
  ReadyList& list = *cpu->context->list;
  Thread* next = list.first;
  if (next == nullptr) {
    if (!FastScheduling::plain(*cpu, *cpu->context)) [[unlikely]] {
      [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
    }
    target = 0;
    status = u64(Status::ok);
    [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
  }
  if (has_flags(*thread) || has_flags(*next) || !FastScheduling::plain(*cpu, *next->context)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  end_call(*thread, 0);
  thread->phase = {ThreadStatus::ready};
  FastScheduling::rotate(*thread, *next, list);
  thread = next;
  KEEL_FAST_FORGET;
  [[clang::musttail]] return run_next(KEEL_FAST_ARGUMENTS);
}

// thread = the waiter, which is above the current thread and gets the bits in w0.
KEEL_FAST [[gnu::noinline]] static void commit_signal(KEEL_FAST_PARAMETERS) {
  Thread* from = cpu->current;
  end_call(*from, 0);
  thread->wait_queue.unlink();
  const u64 now_ns = FastScheduling::charge(*cpu, *thread->context);
  FastScheduling::put_back(*cpu, *from, now_ns);
  FastScheduling::run(*cpu, *thread, now_ns);
  arch::forget(status);
  arch::fast_switch(*cpu, *from, *thread, status);
  w1 = w2 = w3 = w4 = w5 = w6 = w7 = target = 0;
  status = u64(Status::ok);
  [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
}

// thread = the waiter, which gets the bits in w0 and waits for its turn.
KEEL_FAST [[gnu::noinline]] static void make_ready(KEEL_FAST_PARAMETERS) {
  thread->wait_queue.unlink();
  end_call(*thread, w0);
  thread->phase = {ThreadStatus::ready};
  FastScheduling::enqueue_back(cpu->scheduler, *thread);
  thread = cpu->current;
  w0 = w1 = w2 = w3 = w4 = w5 = w6 = w7 = target = 0;
  status = u64(Status::ok);
  [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
}

// thread = the waiter that gets the bits in w0.
KEEL_FAST [[gnu::noinline]] static void wake(KEEL_FAST_PARAMETERS) {
  if (w0 == 0 || has_flags(*cpu->current) || !can_run_here(*thread, cpu) ||
      !FastScheduling::plain(*cpu, *thread->context)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  const u32 level = cpu->context->level;
  if (thread->context->level > level) {
    [[clang::musttail]] return commit_signal(KEEL_FAST_ARGUMENTS);
  }
  // The quantum counts when a thread of the same level is ready.
  if (thread->context->level == level && cpu->timer_set_ns > cpu->quantum_end_ns) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  [[clang::musttail]] return make_ready(KEEL_FAST_ARGUMENTS);
}

KEEL_FAST void fast_signal(KEEL_FAST_PARAMETERS) {
  thread = cpu->current;
  CapSlot* slot = slot_of(*thread, target);
  if (!is_live(*slot, target) || !slot->has(FastUse::signal)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  auto* notification = static_cast<Notification*>(slot->object);
  if (status >> Descriptor::kWordsShift != 0 || !is_home(*notification, cpu)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  if (Thread* waiter = notification->first_waiter()) {
    thread = waiter;
    [[clang::musttail]] return wake(KEEL_FAST_ARGUMENTS);
  }
  if (notification->observer() != nullptr) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  notification->add_quietly(w0);  // and that is all; the words stay the caller's own
  target = 0;
  status = u64(Status::ok);
  [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
}

KEEL_FAST void fast_wait(KEEL_FAST_PARAMETERS) {
  thread = cpu->current;
  CapSlot* slot = slot_of(*thread, target);
  if (!is_live(*slot, target) || !slot->has(FastUse::wait)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  auto* notification = static_cast<Notification*>(slot->object);
  if (status >> Descriptor::kWordsShift != 0 || has_flags(*thread) || !is_home(*notification, cpu)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  if (notification->bits() != 0) {
    if (notification->observer() != nullptr) [[unlikely]] {
      [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
    }
    w0 = notification->take_quietly();
    target = 0;
    status = u64(Status::ok);
    [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
  }
  Thread* next = FastScheduling::top(cpu->scheduler);
  if (w0 != kForever.value || next == nullptr || has_flags(*next) || !FastScheduling::plain(*cpu, *next->context))
      [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  thread->phase = {ThreadStatus::waiting, WaitKind::notification};
  thread->wait.object = notification;
  thread->wait.shared = nullptr;
  thread->wait.capability = CapIndex(target);
  notification->add_waiter(*thread);
  FastScheduling::take_first(cpu->scheduler, *next);
  thread = next;
  KEEL_FAST_FORGET;
  [[clang::musttail]] return run_next(KEEL_FAST_ARGUMENTS);
}

template <bool Traced>
KEEL_FAST static void interrupt_path(KEEL_FAST_PARAMETERS) {
  Interrupt* interrupt = cpu->machine.interrupts.at(u32(target));
  if (interrupt == nullptr || (w0 = interrupt->plain_bits()) == 0) [[unlikely]] {
    arch::forget(w0, w1, w2, w3, w4, w5, w6, w7, status);
    [[clang::musttail]] return arch::entry_slow_interrupt(KEEL_FAST_ARGUMENTS);
  }
  Thread* from = cpu->current;
  Notification* const told = interrupt->target().get();  // null: revoked
  thread = told != nullptr && is_home(*told, cpu) ? told->first_waiter() : nullptr;
  if (thread == nullptr || has_flags(*from) || !can_run_here(*thread, cpu) ||
      thread->context->level <= cpu->context->level || !FastScheduling::plain(*cpu, *thread->context)) [[unlikely]] {
    arch::forget(w0, w1, w2, w3, w4, w5, w6, w7, status);
    [[clang::musttail]] return arch::entry_slow_interrupt(KEEL_FAST_ARGUMENTS);
  }
  if constexpr (Traced) {
    cpu->trace.add({arch::fast_clock(*cpu), TraceEvent::interrupt, u8(target), 0, u32(from->id()), 0,
                    u32(from->process->id()), u32(from->context->causality.trace)});
  }
  arch::acknowledge_interrupt();
  interrupt->count_plain();
  thread->wait_queue.unlink();
  const u64 now_ns = FastScheduling::charge(*cpu, *thread->context);
  FastScheduling::put_back(*cpu, *from, now_ns);
  FastScheduling::run(*cpu, *thread, now_ns);
  arch::switch_from_interrupted(*cpu, *from, *thread);
  w1 = w2 = w3 = w4 = w5 = w6 = w7 = target = 0;
  status = u64(Status::ok);
  [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
}

KEEL_FAST void fast_interrupt(KEEL_FAST_PARAMETERS) {
  [[clang::musttail]] return interrupt_path<false>(KEEL_FAST_ARGUMENTS);
}
KEEL_FAST void traced_interrupt(KEEL_FAST_PARAMETERS) {
  [[clang::musttail]] return interrupt_path<true>(KEEL_FAST_ARGUMENTS);
}

}  // namespace keel
