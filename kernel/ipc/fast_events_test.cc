// What goes through the scheduler, on the fast paths and around them: the same must happen.
#include <gtest/gtest.h>

#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

constexpr u64 kNever = kForever.value;

class EventTest : public ::testing::TestWithParam<bool> {
 protected:
  EventTest() : before(k.baseline()) {
    k.fast = GetParam();
    for (Thread* t : {&a, &b, &high}) index_of(*t) = k.give(*t, n());
  }
  ~EventTest() override {
    k.check();
    notification.reset();
    k.tear_down();
    EXPECT_EQ(k.baseline(), before);
  }
  Notification& n() {
    if (!notification) notification = MUST(Notification::create(k.cpu(), k.root()));
    return *notification;
  }
  CapIndex& index_of(Thread& t) { return &t == &a ? at_a : &t == &b ? at_b : at_high; }
  CallResult wait(Thread& t) { return k.call(t, Call::notification_wait, index_of(t), {kNever}); }
  CallResult signal(Thread& t, u64 bits) { return k.call(t, Call::notification_signal, index_of(t), {bits}); }
  CallResult yield(Thread& t) { return k.call(t, Call::yield); }
  // As user mode is entered: the timer is right, and nothing more urgent is ready. `t` runs.
  void run(Thread& t) {
    k.make_current(t);
    k.settle();
    (void)finish_entry(k.cpu());
    slow_entries = k.cpu().trace.next();
  }
  // Since run(): the slow path traces each of its calls. True where it has to be right.
  bool took_fast_path() const { return !GetParam() || k_trace() == slow_entries; }
  bool took_slow_path() const { return k_trace() != slow_entries; }
  u64 k_trace() const { return const_cast<TestKernel&>(k).cpu().trace.next(); }
  // Interrupted threads are resumed by the slow path: this one made a call that it is to return from.
  void in_call(Thread& t) { t.state.resume = arch::ResumeKind::system_call; }

  TestKernel k;
  TestMachine::Baseline before;
  RefPtr<Notification> notification;
  Thread& a = k.make_thread();
  Thread& b = k.make_thread();
  Thread& high = k.make_thread(kNormalLevel + 4);
  CapIndex at_a, at_b, at_high;
  u64 slow_entries = 0;
};
INSTANTIATE_TEST_SUITE_P(Paths, EventTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "fast" : "slow"; });

// --- yield

TEST_P(EventTest, YieldAloneReturns) {
  EXPECT_TRUE(wait(high).waits);
  EXPECT_TRUE(wait(b).waits);
  run(a);
  EXPECT_TRUE(yield(a).ok());
  EXPECT_EQ(k.cpu().current, &a);
  EXPECT_TRUE(took_fast_path());
}

TEST_P(EventTest, YieldGoesRoundAmongEquals) {
  EXPECT_TRUE(wait(high).waits);
  Thread& c = k.make_thread(*b.process);
  for (Thread* t : {&a, &b, &c}) in_call(*t);
  run(a);
  EXPECT_TRUE(yield(a).ok());
  EXPECT_EQ(k.cpu().current, &b);
  EXPECT_EQ(k.cpu().space.load(kRelaxed), b.space);
  EXPECT_TRUE(yield(b).ok());
  EXPECT_EQ(k.cpu().current, &c);
  EXPECT_TRUE(yield(c).ok());
  EXPECT_EQ(k.cpu().current, &a);
  EXPECT_TRUE(took_fast_path());
}

TEST_P(EventTest, TimeIsChargedToWhoSpentIt) {
  EXPECT_TRUE(wait(high).waits);
  in_call(a), in_call(b);
  run(a);
  const u64 of_a = a.own_context.consumed;
  const u64 of_b = b.own_context.consumed;
  k.cpu().arch.clock += 1000;
  EXPECT_TRUE(yield(a).ok());
  k.cpu().arch.clock += 500;
  EXPECT_TRUE(yield(b).ok());
  EXPECT_EQ(a.own_context.consumed - of_a, 1000u);
  EXPECT_EQ(b.own_context.consumed - of_b, 500u);
  EXPECT_EQ(b.switches, 1u);
  EXPECT_TRUE(took_fast_path());
}

TEST_P(EventTest, EachGetsAQuantumAndTheTimerEndsIt) {
  EXPECT_TRUE(wait(high).waits);
  in_call(a), in_call(b);
  run(a);
  k.advance(Scheduler::kQuantumNs / 2);
  EXPECT_TRUE(yield(a).ok());
  k.advance(Scheduler::kQuantumNs - 1000);
  EXPECT_EQ(k.cpu().current, &b);
  k.advance(2000);
  EXPECT_EQ(k.cpu().current, &a);
}

TEST_P(EventTest, YieldToOneThatWasInterruptedOrIsGoing) {
  EXPECT_TRUE(wait(high).waits);
  in_call(a);
  run(a);
  EXPECT_TRUE(yield(a).ok());  // b has not run yet: all its registers are loaded
  EXPECT_EQ(k.cpu().current, &b);
  EXPECT_EQ(k.cpu().loaded, &b);
  in_call(b);
  a.suspend(k.cpu());
  EXPECT_TRUE(yield(b).ok());
  EXPECT_EQ(k.cpu().current, &b);
  a.resume(k.cpu());
  run(b);
  b.suspend(k.cpu());
  (void)yield(b);
  EXPECT_EQ(k.cpu().current, &a);
  EXPECT_TRUE(b.waits_for(WaitKind::stopped));
}

// --- signal

TEST_P(EventTest, ASignalRunsAWaiterAbove) {
  EXPECT_TRUE(wait(high).waits);
  in_call(a);
  run(a);
  k.cpu().arch.clock += 1'000'000;
  EXPECT_TRUE(signal(a, 5).ok());
  EXPECT_EQ(k.cpu().current, &high);
  EXPECT_EQ(k.cpu().space.load(kRelaxed), high.space);
  auto got = k.result(high);
  EXPECT_TRUE(got.ok());
  EXPECT_EQ(got.word[0], 5u);
  for (u32 i = 1; i < kRegisterWords; ++i) EXPECT_EQ(got.word[i], 0u);
  EXPECT_EQ(a.quantum_left_ns, Scheduler::kQuantumNs - 1'000'000);
  EXPECT_TRUE(took_fast_path());
  // The one that made room goes on before its equals, for the rest of its quantum.
  EXPECT_TRUE(wait(high).waits);
  EXPECT_EQ(k.cpu().current, &a);
  EXPECT_EQ(k.cpu().quantum_end_ns, k.now() + Scheduler::kQuantumNs - 1'000'000);
  EXPECT_TRUE(took_fast_path());
}

TEST_P(EventTest, ASignalAfterTheQuantumPutsTheSignallerBehindItsEquals) {
  EXPECT_TRUE(wait(high).waits);
  in_call(a), in_call(b);
  run(a);
  k.cpu().arch.clock += Scheduler::kQuantumNs;
  EXPECT_TRUE(signal(a, 1).ok());
  EXPECT_TRUE(wait(high).waits);
  EXPECT_EQ(k.cpu().current, &b);
}

TEST_P(EventTest, ASignalMakesAnEqualOrLowerWaiterReady) {
  EXPECT_TRUE(wait(high).waits);
  Thread& low = k.make_thread(kLowLevel);
  CapIndex at_low = k.give(low, n());
  EXPECT_TRUE(wait(b).waits);
  n().signal(k.cpu(), 1);  // high takes it and waits elsewhere
  high.suspend(k.cpu());
  in_call(a);
  run(a);
  k.advance(1000);
  EXPECT_TRUE(signal(a, 2).ok());
  EXPECT_EQ(k.cpu().current, &a);
  EXPECT_EQ(b.status(), ThreadStatus::ready);
  EXPECT_EQ(k.result(b).word[0], 2u);
  k.advance(Scheduler::kQuantumNs);  // b is to have its turn
  EXPECT_EQ(k.cpu().current, &b);
  run(low);
  EXPECT_TRUE(k.call(low, Call::notification_wait, at_low, {kNever}).waits);
  k.make_current(a);
  run(a);
  EXPECT_TRUE(signal(a, 4).ok());
  EXPECT_EQ(k.result(low).word[0], 4u);
  EXPECT_EQ(low.status(), ThreadStatus::ready);
  EXPECT_TRUE(took_fast_path());
}

TEST_P(EventTest, SignalsNobodyWaitsForAreTakenByTheNextWait) {
  EXPECT_TRUE(wait(high).waits);
  n().signal(k.cpu(), 1);
  EXPECT_EQ(k.result(high).word[0], 1u);
  high.suspend(k.cpu());
  run(a);
  EXPECT_TRUE(signal(a, 1).ok());
  EXPECT_TRUE(signal(a, 0).ok());
  EXPECT_TRUE(signal(a, 4).ok());
  auto got = wait(a);
  EXPECT_TRUE(got.ok());
  EXPECT_EQ(got.word[0], 5u);
  EXPECT_EQ(n().bits(), 0u);
  EXPECT_TRUE(took_fast_path());
}

TEST_P(EventTest, WhatIsNotCommonGoesTheSlowWay) {
  EXPECT_TRUE(k.call(high, Call::notification_wait, at_high, {k.now() + 1'000'000}).waits);  // with a deadline
  in_call(a);
  run(a);
  EXPECT_TRUE(signal(a, 1).ok());
  EXPECT_TRUE(took_slow_path());
  EXPECT_EQ(k.cpu().current, &high);
  EXPECT_EQ((high.flags.load(kRelaxed) & Thread::kTimed), 0u);
  EXPECT_TRUE(wait(high).waits);
  run(a);
  EXPECT_TRUE(signal(a, 0).ok());  // wakes nobody
  EXPECT_EQ(k.cpu().current, &a);
  EXPECT_TRUE(k.call(a, Call::notification_signal, at_a, {1}, Descriptor::make(1)).is(Status::invalid_argument));
  EXPECT_TRUE(
      k.call(a, Call::notification_signal, CapIndex(at_a.value + (u64{1} << 32)), {1}).is(Status::bad_capability));
  EXPECT_TRUE(k.call(a, Call::notification_wait, CapIndex(at_a.value + 32), {1}).is(Status::bad_capability));
  CapIndex waits_only = k.copy(a, at_a, a, rights::notification::wait);
  CapIndex signals_only = k.copy(a, at_a, a, rights::notification::signal);
  EXPECT_TRUE(k.call(a, Call::notification_signal, waits_only, {1}).is(Status::missing_right));
  EXPECT_TRUE(k.call(a, Call::notification_wait, signals_only, {1}).is(Status::missing_right));
  CapIndex narrow = k.copy(a, at_a, a, rights::notification::signal, 2);
  EXPECT_TRUE(k.call(a, Call::notification_signal, narrow, {1}).is(Status::missing_right));
  EXPECT_EQ(k.cpu().current, &a);
  EXPECT_TRUE(k.call(a, Call::notification_signal, narrow, {2}).ok());
  EXPECT_EQ(k.cpu().current, &high);
  EXPECT_TRUE(k.call(high, Call::notification_wait, at_high, {0}).is(Status::timed_out));
  high.cancel(k.cpu());
  EXPECT_TRUE(wait(high).is(Status::cancelled));
}

TEST_P(EventTest, AGroupAloneTakesTheFastPathAndOneBesideOthersTheSlow) {
  auto group = MUST(ResourceGroup::create(k.cpu(), k.root()));
  group = MUST(ResourceGroup::create(k.cpu(), *group));
  Thread& x = k.make_thread(k.make_process(*group));
  Thread& y = k.make_thread(*x.process, kNormalLevel + 4);
  const CapIndex at_x = k.give(x, n());
  const CapIndex at_y = k.give(y, n());
  for (Thread* t : {&a, &b, &high}) t->suspend(k.cpu());
  EXPECT_TRUE(k.call(y, Call::notification_wait, at_y, {kNever}).waits);
  run(x);
  in_call(x);
  EXPECT_TRUE(yield(x).ok());
  EXPECT_TRUE(k.call(x, Call::notification_signal, at_x, {4}).ok());
  EXPECT_EQ(k.cpu().current, &y);
  EXPECT_EQ(y.state.word[0], 4u);
  EXPECT_TRUE(k.call(y, Call::notification_wait, at_y, {kNever}).waits);
  EXPECT_EQ(k.cpu().current, &x);
  EXPECT_TRUE(took_fast_path());
  k.check();
  // Another group's thread waits for its turn: it must get it.
  a.resume(k.cpu());
  run(x);
  EXPECT_TRUE(yield(x).ok());
  EXPECT_TRUE(took_slow_path());
  k.check();
}

TEST_P(EventTest, ABoundPortHearsOfTheSignal) {
  EXPECT_TRUE(wait(high).waits);
  high.cancel(k.cpu());
  auto port = MUST(Port::create(k.cpu(), k.root(), 0));
  CapIndex at_port = k.give(b, *port);
  MUST(port->bind(k.cpu(), {n(), nullptr, k.root()}));
  high.suspend(k.cpu());
  EXPECT_TRUE(k.call(b, Call::receive, at_port).waits);
  run(a);
  EXPECT_TRUE(signal(a, 8).ok());
  auto got = k.result(b);
  EXPECT_TRUE(got.ok());
  EXPECT_EQ(got.kind(), MessageKind::signal);
  EXPECT_EQ(got.word[0], 8u);
  run(a);
  EXPECT_TRUE(signal(a, 16).ok());
  EXPECT_EQ(port->backlog_, 1u);
  EXPECT_EQ(wait(a).word[0], 16u);
  EXPECT_EQ(port->backlog_, 0u);
}

// --- wait

TEST_P(EventTest, ThoseWhoWaitAreWokenInOrderAndOneAtATime) {
  high.suspend(k.cpu());
  Thread& c = k.make_thread(*b.process);
  for (Thread* t : {&a, &b, &c}) in_call(*t);
  run(a);
  EXPECT_TRUE(wait(a).waits);
  EXPECT_EQ(k.cpu().current, &b);
  EXPECT_TRUE(wait(b).waits);
  EXPECT_EQ(k.cpu().current, &c);
  EXPECT_TRUE(took_fast_path());
  EXPECT_TRUE(k.call(c, Call::notification_signal, at_b, {1}).ok());
  EXPECT_EQ(k.result(a).word[0], 1u);
  EXPECT_TRUE(b.waits_for(WaitKind::notification));
}

TEST_P(EventTest, TheLastToWaitLeavesTheCpuIdle) {
  high.suspend(k.cpu());
  b.suspend(k.cpu());
  run(a);
  EXPECT_TRUE(wait(a).waits);
  EXPECT_EQ(k.cpu().current, nullptr);
  n().signal(k.cpu(), 3);
  EXPECT_EQ(k.result(a).word[0], 3u);
}

TEST_P(EventTest, AWaitEndsWhenItsCapabilityIsRevoked) {
  CapIndex root = k.give(b, n());
  at_a = k.copy(b, root, a, all_rights(ObjectKind::notification));
  EXPECT_TRUE(wait(high).waits);
  in_call(b);
  run(a);
  EXPECT_TRUE(wait(a).waits);
  EXPECT_EQ(k.cpu().current, &b);
  EXPECT_TRUE(k.call(b, Call::cap_revoke, root).ok());
  EXPECT_TRUE(k.result(a).is(Status::revoked));
}

// --- interrupts

class InterruptTest : public EventTest {
 protected:
  RefPtr<Interrupt> make(Trigger trigger) {
    auto made = MUST(Interrupt::create_line(k.cpu(), k.root(), 3, trigger, Polarity::active_high));
    MUST(made->bind(k.cpu(), {n(), nullptr, k.root(), 6}));
    return made;
  }
  ~InterruptTest() override {
    if (interrupt) interrupt->on_zero_handles(k.cpu());
  }
  RefPtr<Interrupt> interrupt;
};
INSTANTIATE_TEST_SUITE_P(Paths, InterruptTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "fast" : "slow"; });

TEST_P(InterruptTest, AnInterruptRunsItsDriverAndThenWhomItInterrupted) {
  interrupt = make(Trigger::edge);
  EXPECT_TRUE(wait(high).waits);
  run(a);
  k.cpu().arch.clock += 700;
  const u64 consumed = a.own_context.consumed;
  k.interrupt(interrupt->vector());
  EXPECT_EQ(k.cpu().current, &high);
  EXPECT_EQ(k.result(high).word[0], 6u);
  EXPECT_EQ(interrupt->count(), 1u);
  EXPECT_EQ(a.own_context.consumed - consumed, 700u);
  EXPECT_EQ(a.state.resume, arch::ResumeKind::interrupted);
  EXPECT_TRUE(took_fast_path());
  in_call(high);
  EXPECT_TRUE(wait(high).waits);
  EXPECT_EQ(k.cpu().current, &a);
  EXPECT_EQ(k.cpu().loaded, &a);
}

TEST_P(InterruptTest, AnInterruptIsRecorded) {
  k.traced = true;
  interrupt = make(Trigger::edge);
  EXPECT_TRUE(wait(high).waits);
  run(a);
  k.cpu().arch.clock += 123;
  k.interrupt(interrupt->vector());
  const TraceRecord& r = k.cpu().trace.at(slow_entries);
  EXPECT_EQ(r.event, TraceEvent::interrupt);
  EXPECT_EQ(r.code, interrupt->vector());
  EXPECT_EQ(r.thread, a.id());
  EXPECT_EQ(r.process, a.process->id());
  EXPECT_EQ(r.tsc, k.cpu().arch.clock);
}

TEST_P(InterruptTest, AnInterruptForAnEqualLetsTheRunningThreadGoOn) {
  interrupt = make(Trigger::edge);
  high.suspend(k.cpu());
  in_call(b);
  EXPECT_TRUE(wait(b).waits);
  run(a);
  k.interrupt(interrupt->vector());
  EXPECT_EQ(k.cpu().current, &a);
  EXPECT_EQ(k.result(b).word[0], 6u);
  k.interrupt(interrupt->vector());  // nobody waits
  EXPECT_EQ(n().bits(), 6u);
  EXPECT_EQ(interrupt->count(), 2u);
}

TEST_P(InterruptTest, LevelTriggeredUnboundAndUnknownOnesGoTheSlowWay) {
  interrupt = make(Trigger::level);
  EXPECT_TRUE(wait(high).waits);
  run(a);
  k.interrupt(interrupt->vector());
  EXPECT_TRUE(took_slow_path());
  EXPECT_EQ(k.cpu().current, &high);
  EXPECT_TRUE(wait(high).waits);
  run(a);
  k.interrupt(interrupt->vector() + 1);
  EXPECT_EQ(k.cpu().current, &a);
  interrupt->on_zero_handles(k.cpu());
  k.interrupt(interrupt->vector());
  EXPECT_EQ(k.cpu().current, &a);
}

}  // namespace
}  // namespace keel::testing
