// For tests: a kernel on one simulated CPU, entered as hardware would enter it. Processes and threads come from the
// kernel's own functions; a thread's user code is the test, which makes its system calls one at a time.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <vector>

#include <arch/context.h>

#include "abi/calls.h"
#include "kernel/core/entry.h"
#include "kernel/core/scheduler_check_test.h"
#include "kernel/ipc/fast.h"
#include "kernel/mm/machine_rig_test.h"
#include "kernel/syscall/objects.h"

namespace keel::testing {

// Where the test's threads make their calls: the system call instruction is two bytes long.
inline constexpr u64 kCallSite = 0x40'0000;

// What a thread has after a call: an answer, or it waits, or it is no more.
struct CallResult {
  bool waits = false;
  bool dead = false;
  Status status = Status::ok;
  Descriptor descriptor;
  u64 badge = 0;
  u64 word[kRegisterWords] = {};

  bool ok() const { return !waits && !dead && status == Status::ok; }
  bool is(Status s) const { return !waits && !dead && status == s; }
  CapIndex cap(u32 i = 0) const { return CapIndex(word[i]); }
  MessageKind kind() const { return MessageKind(descriptor.kind()); }
};

class TestKernel {
 public:
  explicit TestKernel(u64 bytes = 32 * kMiB) : ram_(bytes) {
    MUST(machine().initialise(cpu()));
    machine().log.set_console(cpu(), false);
    machine().random.seed(cpu(), {1, 2, 3, 4});
    machine().sealer().initialise(cpu(), machine().random);
    cpu().arch.clock = 1000;
  }
  ~TestKernel() { tear_down(); }

  Machine& machine() { return ram_.machine(); }
  Cpu& cpu() { return ram_.cpu(); }
  ResourceGroup& root() { return ram_.root(); }

  // --- Making things

  Process& make_process(ResourceGroup& group) {
    processes_.push_back(MUST(Process::create(cpu(), group, ProcessName{"test"})));
    return *processes_.back();
  }
  Process& make_process() { return make_process(root()); }
  // A thread that is ready.
  Thread& make_thread(Process& process, u32 level = kNormalLevel) {
    threads_.push_back(MUST(Thread::create(cpu(), process, level)));
    threads_.back()->start(cpu(), kCallSite, 0x7000'0000, 0, 0);
    return *threads_.back();
  }
  Thread& make_thread(u32 level = kNormalLevel) { return make_thread(make_process(), level); }
  // A root capability with all rights.
  template <class T>
  CapIndex give(Process& process, T& object, u64 scope = 0) {
    return MUST(process.caps.insert_root(cpu(), object, all_rights(object.kind()), scope));
  }
  template <class T>
  CapIndex give(Thread& thread, T& object, u64 scope = 0) {
    return give(*thread.process, object, scope);
  }
  // A derivation into another process, as cap_grant makes it.
  CapIndex copy(Thread& from, CapIndex source, Process& to, Rights rights, u64 scope = 0) {
    CapSlot* slot = MUST(from.process->caps.find(source));
    if (scope == 0) scope = slot->scope;
    return MUST(to.caps.insert_child(cpu(), *slot, rights & CapSlot::rights(slot->load()), scope));
  }
  CapIndex copy(Thread& from, CapIndex source, Thread& to, Rights rights, u64 scope = 0) {
    return copy(from, source, *to.process, rights, scope);
  }
  // The object that a capability names.
  template <class T>
  T& object(Thread& thread, CapIndex index) {
    CapSlot* slot = MUST(thread.process->caps.find(index));
    if (slot->object->kind() != T::kKind) __builtin_trap();
    return static_cast<T&>(*slot->object);
  }
  // The thread that a thread_create of `by` made, for calls of its own.
  Thread& adopt(Thread& by, CapIndex index) {
    threads_.push_back(RefPtr<Thread>(object<Thread>(by, index)));
    return *threads_.back();
  }
  Process& adopt_process(Thread& by, CapIndex index) {
    processes_.push_back(RefPtr<Process>(object<Process>(by, index)));
    return *processes_.back();
  }

  // --- Calls

  // Puts the call into the thread's registers and enters the kernel with it. A call that is to be restarted is run
  // again until it is not, as user mode would.
  CallResult call(Thread& t, Call call, CapIndex cap = kNoCapability, std::initializer_list<u64> words = {},
                  u64 descriptor = 0) {
    set_call(t, u64(call) | descriptor, cap.value, words);
    enter_once(t);
    return result(t);
  }
  // The same without running it again: false when it is to be restarted.
  bool call_once(Thread& t, Call call, CapIndex cap, std::initializer_list<u64> words = {}, u64 descriptor = 0) {
    set_call(t, u64(call) | descriptor, cap.value, words);
    enter_once(t);
    return !restarts(t);
  }
  // Whether the thread could run and would make its call again.
  static bool restarts(const Thread& t) { return runnable(t) && t.state.rip == kCallSite && in_call(t); }
  // What the thread has got by now; runs calls that are to be restarted.
  CallResult result(Thread& t) {
    for (u32 i = 0; restarts(t); ++i) {
      if (i == 100'000) fail("a call restarts for ever");
      t.state.rip += 2;
      make_current(t);
      enter_system_call(cpu());
    }
    CallResult r;
    r.dead = t.status() == ThreadStatus::dead;
    r.waits = t.waits();
    r.status = Status(t.state.rax & 0xff);
    r.descriptor = Descriptor{t.state.rax & ~u64{0xff}};
    r.badge = t.state.rdi;
    for (u32 i = 0; i < kRegisterWords; ++i) r.word[i] = t.state.word[i];
    return r;
  }
  void set_call(Thread& t, u64 rax, u64 rdi, std::initializer_list<u64> words) {
    t.state.rax = rax;
    t.state.rdi = rdi;
    u32 i = 0;
    for (u64 word : words) t.state.word[i++] = word;
    while (i < kRegisterWords) t.state.word[i++] = 0;
    t.state.rip = kCallSite + 2;
    t.state.resume = arch::ResumeKind::system_call;
  }
  // The thread, which is ready or running, makes the call in its registers.
  void enter_once(Thread& t) {
    make_current(t);
    const auto& s = t.state;
    const auto& w = s.word;
    if (fast && (s.rax & 0xff) == u64(Call::call)) {
      fast_call(w[4], w[5], w[6], w[7], s.rdi, w[0], w[1], nullptr, w[2], w[3], &cpu(), s.rax);
    } else if (fast && (s.rax & 0xff) == u64(Call::reply_receive)) {
      fast_reply_receive(w[4], w[5], w[6], w[7], s.rdi, w[0], w[1], nullptr, w[2], w[3], &cpu(), s.rax);
    } else if (fast && (s.rax & 0xff) == u64(Call::notification_signal)) {
      fast_signal(w[4], w[5], w[6], w[7], s.rdi, w[0], w[1], nullptr, w[2], w[3], &cpu(), s.rax);
    } else if (fast && (s.rax & 0xff) == u64(Call::notification_wait)) {
      fast_wait(w[4], w[5], w[6], w[7], s.rdi, w[0], w[1], nullptr, w[2], w[3], &cpu(), s.rax);
    } else if (fast && (s.rax & 0xff) == u64(Call::cap_derive)) {
      fast_derive(w[4], w[5], w[6], w[7], s.rdi, w[0], w[1], nullptr, w[2], w[3], &cpu(), s.rax);
    } else if (fast && (s.rax & 0xff) == u64(Call::yield)) {
      fast_yield(w[4], w[5], w[6], w[7], s.rdi, w[0], w[1], nullptr, w[2], w[3], &cpu(), s.rax);
    } else {
      enter_system_call(cpu());
    }
  }
  bool fast = false;    // calls that have a fast path take it
  bool traced = false;  // interrupts take the one that is recorded
  // Makes a ready thread the one that runs; whoever ran is ready again.
  void make_current(Thread& t) {
    if (cpu().current == &t) return;
    if (t.status() != ThreadStatus::ready) fail("a thread that is not ready cannot make a call");
    if (Thread* old = cpu().current) {
      old->phase = {ThreadStatus::ready};
      cpu().scheduler.enqueue_front(*old);
    }
    cpu().scheduler.remove(t);
    t.phase = {ThreadStatus::running};
    cpu().current = &t;
    cpu().change_context(t.context);
    cpu().reschedule = false;
    if (cpu().loaded != &t) arch::load_thread(cpu(), t);
  }
  static bool runnable(const Thread& t) {
    return t.status() == ThreadStatus::ready || t.status() == ThreadStatus::running;
  }

  // --- Time and other events

  u64 now() { return cpu().now_ns(); }
  // Lets time pass: the timer goes off whenever it is set for then.
  void advance(u64 ns) {
    const u64 until = cpu().arch.clock + ns;
    for (u32 i = 0; cpu().arch.timer_ns <= until; ++i) {
      if (i == 100'000) fail("the timer goes off for ever");
      if (cpu().arch.clock < cpu().arch.timer_ns) cpu().arch.clock = cpu().arch.timer_ns;
      cpu().arch.timer_ns = ~u64{0};
      enter_timer(cpu());
    }
    cpu().arch.clock = until;
  }
  void interrupt(u32 vector) {
    if (Thread* t = cpu().current; fast && t != nullptr) {
      t->state.resume = arch::ResumeKind::interrupted;
      (traced ? traced_interrupt : fast_interrupt)(0, 0, 0, 0, vector, 0, 0, nullptr, 0, 0, &cpu(), 0);
    } else {
      enter_interrupt(cpu(), vector);
    }
  }
  // The CPU idles or runs user code until all deferred work is done.
  void settle() {
    for (u32 i = 0; !cpu().work.empty() || !machine().orphans.empty() || cpu().arch.self_interrupt; ++i) {
      if (i == 1'000'000) fail("deferred work never ends");
      if (cpu().arch.self_interrupt || cpu().work_due_ns <= now()) {
        cpu().arch.self_interrupt = false;
        enter_self_interrupt(cpu());
      } else {
        advance(cpu().work_due_ns - now());  // real-time threads run: the timer gives it its turn
      }
    }
  }

  MessagePage& page(Thread& t) { return *t.message_page; }
  TestMachine& ram() { return ram_; }

  // --- Invariants

  TestMachine::Baseline baseline() {
    settle();
    return ram_.baseline();
  }
  // Traps with a message unless the invariants of threads, queues and spaces hold.
  void check() {
    const i64 queued = cpu().scheduler.check();
    if (queued < 0) fail("scheduler queues");
    i64 ready = 0;
    for (Process* p = machine().next_process(cpu(), 0); p != nullptr; p = machine().next_process(cpu(), p->id())) {
      if (p->space() != nullptr && p->alive() && !p->space()->check(cpu())) fail("address space");
      p->for_each_thread(cpu(), ~u32{0}, [&](Thread& t) {
        if (t.status() == ThreadStatus::ready) ++ready;
        check_thread(t);
      });
    }
    if (ready != queued) fail("a thread is ready and in no queue, or the other way round");
    if (Thread* t = cpu().current; t != nullptr && t->status() != ThreadStatus::running) fail("current does not run");
  }
  // Ends everything that was made.
  void tear_down() {
    threads_.clear();
    processes_.clear();
    settle();
    while (Process* p = live_process()) {
      p->kill(cpu(), 0);
      settle();
    }
    if (machine().process_count() != 0) fail("a process is left over");
    if (machine().thread_count() != 0) fail("a thread is left over");
    if (cpu().timers.earliest() != kForever) fail("a timer is left over");
  }
  [[noreturn]] static void fail(const char* what) {
    std::fprintf(stderr, "TestKernel: %s\n", what);
    std::abort();
  }

 private:
  static bool in_call(const Thread& t) { return t.state.resume == arch::ResumeKind::system_call; }
  Process* live_process() {
    for (Process* p = machine().next_process(cpu(), 0); p != nullptr; p = machine().next_process(cpu(), p->id())) {
      if (p->alive()) return p;
    }
    return nullptr;
  }
  void check_thread(const Thread& t) {
    if (t.status() == ThreadStatus::running && cpu().current != &t) fail("a thread runs that is not current");
    if (t.callee != nullptr && t.callee->caller != &t) fail("caller and callee do not agree");
    if (t.caller != nullptr && t.caller->callee != &t) fail("callee and caller do not agree");
    if ((t.callee != nullptr || t.reply_object != nullptr) && !t.waits_for(WaitKind::reply))
      fail("a caller does not wait");
    if (t.waits_for(WaitKind::reply) && t.process->alive() && t.callee == nullptr && t.reply_object == nullptr) {
      fail("a thread waits for a reply from nobody");
    }
    const SchedulingContext* context = t.lender != nullptr   ? t.lender->context
                                       : t.caller != nullptr ? t.caller->context
                                                             : &t.own_context;
    if (t.lender != nullptr && (t.lender->borrower != &t || !t.lender->caller_hook.linked()))
      fail("a thread borrows from one that is in no queue");
    if (t.borrower != nullptr && t.borrower->lender != &t) fail("borrower and lender do not agree");
    if (t.process->alive() && t.own_context.level != expected_level(t))
      fail("a context has a level that it should not have");
    if (t.context != context) fail("a thread runs on a context that it should not have");
    if (t.has_flags(Thread::kTimed) && !t.waits()) fail("a deadline is armed without a wait");
    if (t.wait_queue.linked() && !t.waits()) fail("a thread is in a wait queue and does not wait");
  }

  // The level of its own context, by the rules of donation.
  static u32 expected_level(const Thread& owner) {
    u32 level = owner.own_context.base_level;
    for (const Thread* t = &owner; t != nullptr && t->context == &owner.own_context; t = t->deputy()) {
      if (t->is_busy_server() && t->serves->best_level() > level) level = t->serves->best_level();
    }
    return level;
  }

  TestMachine ram_;
  std::vector<RefPtr<Process>> processes_;
  std::vector<RefPtr<Thread>> threads_;
};

}  // namespace keel::testing
