// Budgets, reservations, the accounts of all this, and deadlines.
#include "kernel/core/scheduling_rig_test.h"

namespace keel::testing {
namespace {

// --- Reservations

TEST_F(SchedulingTest, ABudgetIsWhatAThreadGetsInEachPeriod) {
  Thread& busy = k.make_thread();
  Thread& t = k.make_thread();
  auto r = reserve(kRealTime, 300 * kUs, kMs);
  auto n = MUST(Notification::create(k.cpu(), k.root()));
  tell(r->budget(), n.get(), 4);
  MUST(r->bind(k.cpu(), t));
  EXPECT_EQ(runs(), &t);
  k.advance(10);  // the timer may come a nanosecond late
  for (u32 period = 0; period < 10; ++period) {
    EXPECT_EQ(k.cpu().current, &t);
    k.advance(299 * kUs);
    EXPECT_EQ(k.cpu().current, &t);
    EXPECT_EQ(n->take(k.cpu()), 0u);
    k.advance(2 * kUs);
    EXPECT_EQ(k.cpu().current, &busy);
    EXPECT_EQ(n->take(k.cpu()), 4u);
    k.check();
    k.advance(698 * kUs);
    EXPECT_EQ(k.cpu().current, &busy);
    k.advance(kUs);
  }
  expect_near(consumed(t), 3 * kMs, 20);
  EXPECT_EQ(r->budget().overruns(), 10u);
}

TEST_F(SchedulingTest, WhatIsNotUsedIsLost) {
  Thread& t = k.make_thread();
  Thread& busy = k.make_thread();
  auto r = reserve(kRealTime, 300 * kUs, kMs);
  MUST(r->bind(k.cpu(), t));
  t.suspend(k.cpu());
  k.advance(10 * kMs + 500 * kUs);
  t.resume(k.cpu());
  EXPECT_EQ(runs(), &t);
  k.advance(301 * kUs);
  EXPECT_EQ(runs(), &busy);
  k.advance(200 * kUs);  // the next period
  EXPECT_EQ(runs(), &t);
}

TEST_F(SchedulingTest, WithNobodyElseAnExhaustedThreadStillWaits) {
  Thread& t = k.make_thread();
  auto r = reserve(20, 300 * kUs, kMs);
  MUST(r->bind(k.cpu(), t));
  EXPECT_EQ(runs(), &t);
  k.advance(301 * kUs);
  EXPECT_EQ(k.cpu().current, nullptr);
  k.advance(100 * kMs);
  expect_near(consumed(t), 30 * kMs + 300 * kUs, 200);
}

TEST_F(SchedulingTest, RealTimeIsAdmittedUpToWhatTheCpuHas) {
  auto a = reserve(kRealTime, 600 * kUs, kMs);
  auto b = reserve(kRealTime, 300 * kUs, kMs);
  auto c = MUST(Reservation::create(k.cpu(), k.root()));
  EXPECT_EQ(c->configure(k.cpu(), kRealTime, 100 * kUs, kMs).status(), Status::quota_exceeded);
  EXPECT_EQ(c->level(), kIdleLevel);
  MUST(c->configure(k.cpu(), kRealTime, 50 * kUs, kMs));
  EXPECT_EQ(a->configure(k.cpu(), kRealTime, 601 * kUs, kMs).status(), Status::quota_exceeded);
  MUST(a->configure(k.cpu(), kRealTime, 500 * kUs, kMs));
  MUST(c->configure(k.cpu(), kHighLevel, 900 * kUs, kMs));  // a limit takes nothing from anybody
  MUST(c->configure(k.cpu(), kRealTime, 0, 0));
  EXPECT_EQ(k.cpu().reserved_ppm, 800'000u);
  a = nullptr;
  k.settle();
  EXPECT_EQ(k.cpu().reserved_ppm, 300'000u);
  for (auto [budget, period] : {std::pair{u64{0}, kMs}, {2 * kMs, kMs}, {kUs, u64{0}}, {kUs, 10 * kUs}}) {
    EXPECT_EQ(b->configure(k.cpu(), 20, budget, period).status(), Status::invalid_argument);
  }
}

TEST_F(SchedulingTest, ABudgetMaySetAnewAtAnyTime) {
  Thread& t = k.make_thread();
  Thread& busy = k.make_thread();
  auto r = reserve(kRealTime, 100 * kUs, 10 * kMs);
  MUST(r->bind(k.cpu(), t));
  EXPECT_EQ(runs(), &t);
  k.advance(200 * kUs);
  EXPECT_EQ(k.cpu().current, &busy);
  MUST(r->configure(k.cpu(), kRealTime, 200 * kUs, kMs));  // wakes the parked
  EXPECT_EQ(runs(), &t);
  k.advance(100 * kUs);
  MUST(r->configure(k.cpu(), kRealTime, 50 * kUs, kMs));  // while it runs
  EXPECT_EQ(runs(), &t);
  k.advance(51 * kUs);
  EXPECT_EQ(k.cpu().current, &busy);
  MUST(r->configure(k.cpu(), kRealTime, 0, 0));
  EXPECT_EQ(runs(), &t);
  k.advance(50 * kMs);
  EXPECT_EQ(k.cpu().current, &t);
}

TEST_F(SchedulingTest, ThreadsAreBoundAndUnboundInEveryState) {
  auto r = reserve(kRealTime, 100 * kUs, kMs);
  Thread& caller = k.make_thread();
  CapIndex context = k.give(caller, *r);
  Thread& fresh = k.adopt(caller, k.call(caller, Call::thread_create, k.give(caller, *caller.process), {16}).cap());
  Thread& ready = k.make_thread(*caller.process);
  Thread& waiting = k.make_thread(*caller.process);
  Thread& parked = k.make_thread(*caller.process);
  CapIndex n = k.give(caller, *MUST(Notification::create(k.cpu(), k.root())));
  EXPECT_TRUE(k.call(waiting, Call::notification_wait, n, {~u64{0}}).waits);
  const auto bind = [&](Thread& t, CapIndex to) {
    auto result = k.call(caller, Call::thread_set_context, k.give(caller, t), {to.value});
    k.check();
    return result;
  };
  EXPECT_TRUE(bind(parked, context).ok());
  EXPECT_EQ(runs(), &parked);
  k.advance(150 * kUs);
  EXPECT_TRUE(Scheduler::is_parked(parked));
  for (Thread* t : {&fresh, &ready, &waiting, &caller}) {
    EXPECT_TRUE(bind(*t, context).ok());
    EXPECT_EQ(t->own_context.account, &r->account());
    EXPECT_EQ(t->own_context.level, kRealTime);
    EXPECT_TRUE(k.call(caller, Call::thread_set_level, k.give(caller, *t), {20}).is(Status::bad_state));
  }
  EXPECT_EQ(k.call(caller, Call::context_info, context).word[5], 5u);
  for (Thread* t : {&fresh, &ready, &waiting, &caller, &parked}) {
    EXPECT_TRUE(bind(*t, kNoCapability).ok());
    EXPECT_EQ(t->own_context.account, &k.root().queue(k.cpu()).account);
    EXPECT_TRUE(k.call(caller, Call::thread_set_level, k.give(caller, *t), {20}).ok());
  }
  EXPECT_EQ(r->threads(), 0u);
  // Parked and killed; parked and suspended.
  EXPECT_TRUE(bind(parked, context).ok());
  EXPECT_TRUE(bind(ready, context).ok());
  k.advance(10 * kMs + 150 * kUs);
  parked.kill(k.cpu());
  ready.suspend(k.cpu());
  k.check();
  EXPECT_EQ(r->threads(), 1u);
  EXPECT_TRUE(bind(parked, context).is(Status::bad_state));
  // Levels above what the process may have.
  caller.process->top_level = 30;
  EXPECT_TRUE(bind(waiting, context).is(Status::invalid_argument));
  EXPECT_TRUE(k.call(caller, Call::context_configure, context, {31, 0, 0}).is(Status::invalid_argument));
  EXPECT_TRUE(k.call(caller, Call::context_configure, context, {30, 0, 0}).ok());
  EXPECT_EQ(ready.own_context.level, 30u);
}

TEST_F(SchedulingTest, SixteenThreadsShareAReservation) {
  auto r = reserve(20, 500 * kUs, kMs);
  Process& p = k.make_process();
  Thread* t[17];
  for (auto& each : t) each = &k.make_thread(p);
  for (u32 i = 0; i < 16; ++i) MUST(r->bind(k.cpu(), *t[i]));
  EXPECT_EQ(r->bind(k.cpu(), *t[16]).status(), Status::busy);
  t[16]->suspend(k.cpu());
  runs();
  k.advance(400 * kMs);
  u64 sum = 0;
  for (u32 i = 0; i < 16; ++i) sum += consumed(*t[i]);
  expect_near(sum, 200 * kMs, 10 * kUs);
}

TEST_F(SchedulingTest, WhatALateTimerLetsAThreadUseTooMuchCountsAgainstTheNextPeriod) {
  Thread& t = k.make_thread();
  Thread& busy = k.make_thread();
  auto r = reserve(40, 300 * kUs, kMs);
  MUST(r->bind(k.cpu(), t));
  EXPECT_EQ(runs(), &t);
  for (u32 i = 0; i < 20'000; ++i) {  // the timer is up to 50 us late
    k.cpu().arch.clock += 50 * kUs;
    if (k.cpu().arch.timer_ns > k.cpu().arch.clock) continue;
    k.cpu().arch.timer_ns = ~u64{0};
    enter_timer(k.cpu());
  }
  expect_near(consumed(t), 300 * kMs, 400 * kUs);
  expect_near(consumed(busy), 700 * kMs, 400 * kUs);
  MUST(r->configure(k.cpu(), 40, 0, 0));
  EXPECT_EQ(runs(), &t);
  k.advance(50 * kMs);
  MUST(r->configure(k.cpu(), 40, 300 * kUs, kMs));  // what was used without a limit is no debt
  EXPECT_EQ(runs(), &t);
  k.advance(299 * kUs);
  EXPECT_EQ(k.cpu().current, &t);
}

TEST_F(SchedulingTest, CpusTakeABudgetInSlicesAndNeverMoreThanThereIs) {
  CpuBudget budget;
  k.cpu().arch.clock = 5 * kMs;
  budget.set(k.cpu(), 1'010 * kUs, 10 * kMs, 8);
  Random random(test_seed());
  u64 now = 5 * kMs;
  for (u64 period = 0; period < 100; ++period) {
    u64 sum = 0;
    for (; now < 15 * kMs + period * 10 * kMs; now += random.below(900 * kUs)) {
      const CpuBudget::Slice slice = budget.take(k.cpu(), now);
      EXPECT_EQ(slice.until, 15 * kMs + period * 10 * kMs);
      EXPECT_LE(slice.amount, 1'010 * kUs / 8);
      sum += slice.amount;
    }
    EXPECT_EQ(sum, 1'010 * kUs);
  }
  // A CPU whose clock is a little behind gets nothing twice.
  EXPECT_EQ(budget.take(k.cpu(), now - 10 * kMs).until, 15 * kMs + (now - 15 * kMs) / (10 * kMs) * 10 * kMs);
  budget.set(k.cpu(), 0, 0, 8);
  EXPECT_FALSE(budget.limited());
}

// --- Accounts

TEST_F(SchedulingTest, EveryNanosecondIsAccountedFor) {
  auto a = group(100), b = group(300);
  b->set_cpu(k.cpu(), 2 * kMs, 5 * kMs, 300);
  auto r = reserve(kRealTime, 70 * kUs, 900 * kUs);
  Thread* t[6] = {&thread_in(*a),    &thread_in(*a, 30), &thread_in(*b),
                  &k.make_thread(3), &k.make_thread(),   &thread_in(*b, 35)};
  MUST(r->bind(k.cpu(), *t[4]));
  Random random(test_seed());
  const u64 idle = k.cpu().idle_tsc;
  const u64 start = k.cpu().context_since;
  for (u32 i = 0; i < 3000; ++i) {
    k.advance(random.below(2 * kMs));
    Thread& one = *t[random.below(6)];
    switch (random.below(6)) {
      case 0:
        one.suspend(k.cpu());
        break;
      case 1:
      case 2:
        one.resume(k.cpu());
        break;
      case 3:
        if (&one != t[4]) one.set_level(k.cpu(), u32(random.below(kLevels)));
        break;
      default:
        break;
    }
    enter_self_interrupt(k.cpu());
    k.check();
  }
  k.cpu().bring_accounts_up_to_date();
  u64 sum = k.cpu().idle_tsc - idle;
  for (Thread* each : t) sum += each->own_context.consumed;
  EXPECT_EQ(sum, k.cpu().now_tsc() - start);
  EXPECT_GT(k.cpu().idle_tsc, idle);
  EXPECT_EQ(consumed(*a), t[0]->own_context.consumed + t[1]->own_context.consumed);
  EXPECT_EQ(consumed(*b), t[2]->own_context.consumed + t[5]->own_context.consumed);
  EXPECT_EQ(consumed(k.root()), sum - (k.cpu().idle_tsc - idle));
}

TEST_F(SchedulingTest, LevelsAndSuspensionInEveryState) {
  Thread& caller = k.make_thread(40);
  Process& p = k.make_process();
  CapIndex self = k.give(caller, p);
  Thread& fresh = k.adopt(caller, k.call(caller, Call::thread_create, self, {16}).cap());
  Thread& ready = k.make_thread(p);
  Thread& waiting = k.make_thread(p);
  Thread& queued = k.make_thread(p);
  Thread& called = k.make_thread(p);
  Thread& server = k.make_thread(p);
  CapIndex n = k.give(p, *MUST(Notification::create(k.cpu(), k.root())));
  CapIndex port = k.give(p, *MUST(Port::create(k.cpu(), k.root(), 0)));
  EXPECT_TRUE(k.call(waiting, Call::notification_wait, n, {~u64{0}}).waits);
  EXPECT_TRUE(k.call(server, Call::receive, port).waits);
  EXPECT_TRUE(k.call(called, Call::call, port).waits);
  EXPECT_TRUE(k.call(queued, Call::call, port).waits);
  for (Thread* t : {&fresh, &ready, &waiting, &queued, &called, &server, &caller}) {
    CapIndex cap = k.give(caller, *t);
    const auto status = t->status();
    for (u64 level : {3, 20, 45, 16}) {
      EXPECT_TRUE(k.call(caller, Call::thread_set_level, cap, {level}).ok());
      EXPECT_EQ(k.call(caller, Call::thread_info, cap).word[2], level);
      k.check();
    }
    if (t == &caller) break;
    EXPECT_TRUE(k.call(caller, Call::thread_suspend, cap).ok());
    k.check();
    EXPECT_TRUE(k.call(caller, Call::thread_suspend, cap).ok());
    EXPECT_TRUE(k.call(caller, Call::thread_set_level, cap, {25}).ok());
    k.check();
    EXPECT_TRUE(k.call(caller, Call::thread_resume, cap).is(t == &fresh ? Status::bad_state : Status::ok));
    k.check();
    if (t != &server) EXPECT_EQ(t->status(), status) << u32(status);
  }
  CapIndex cap = k.give(caller, ready);
  ready.kill(k.cpu());
  EXPECT_TRUE(k.call(caller, Call::thread_set_level, cap, {16}).is(Status::bad_state));
  EXPECT_TRUE(k.call(caller, Call::thread_suspend, cap).is(Status::bad_state));
}

// --- Deadlines

// A real-time thread with half of the CPU, woken every 100 us, that works for 40 us each time, among threads of every
// class that want all the rest, and another reservation.
// What is finished in steps; counts them.
class Steps final : public Work {
 public:
  explicit Steps(u32 wanted) : wanted_(wanted) {}
  bool step(Cpu&) override { return ++done == wanted_; }
  u32 done = 0;

 private:
  const u32 wanted_;
};

TEST_F(SchedulingTest, DeferredWorkLetsTheRealTimeClassGoFirst) {
  Thread& normal = k.make_thread();
  Steps at_once(4), later(6);
  k.make_current(normal);
  k.cpu().work.push(at_once);
  EXPECT_EQ(runs(), &normal);
  EXPECT_EQ(at_once.done, 2u);
  k.settle();
  EXPECT_EQ(at_once.done, 4u);
  Thread& urgent = k.make_thread(kRealTime);
  k.cpu().work.push(later);
  EXPECT_EQ(runs(), &urgent);  // it became ready with the work waiting
  EXPECT_FALSE(k.cpu().arch.self_interrupt);
  EXPECT_TRUE(k.call(urgent, Call::yield).ok());  // polling makes no difference
  k.advance(99 * kUs);
  EXPECT_EQ(later.done, 0u);
  k.advance(kUs);  // nor does it wait for ever
  EXPECT_EQ(later.done, 2u);
  EXPECT_EQ(k.cpu().current, &urgent);
  k.advance(100 * kUs);
  EXPECT_EQ(later.done, 4u);
  urgent.suspend(k.cpu());
  EXPECT_EQ(runs(), &normal);
  k.settle();
  EXPECT_EQ(later.done, 6u);
  EXPECT_EQ(k.cpu().work_due_ns, 0u);
}

TEST_F(SchedulingTest, AReservedThreadMissesNoDeadline) {
  const u64 periods =
      std::getenv("KEEL_PERIODS") != nullptr ? std::strtoull(std::getenv("KEEL_PERIODS"), nullptr, 0) : 1'000'000;
  constexpr u64 kPeriod = 100 * kUs, kWork = 40 * kUs;
  Thread& t = k.make_thread();
  auto r = reserve(60, kPeriod / 2, kPeriod);
  MUST(r->bind(k.cpu(), t));
  auto r2 = reserve(55, 400 * kUs, kMs);
  Thread& greedy = k.make_thread();
  MUST(r2->bind(k.cpu(), greedy));
  auto a = group(100), b = group(500);
  thread_in(*a);
  thread_in(*b, 20);
  thread_in(*b, 20);
  k.make_thread(40);
  k.make_thread(4);
  CapIndex n = k.give(t, *MUST(Notification::create(k.cpu(), k.root())));
  CapIndex timer =
      k.give(t, *MUST(Timer::create(k.cpu(), k.root(), {k.object<Notification>(t, n), nullptr, k.root(), 1})));
  const u64 first = k.now() + kPeriod;
  EXPECT_TRUE(k.call(t, Call::timer_set, timer, {first, kPeriod}).ok());
  EXPECT_TRUE(k.call(t, Call::notification_wait, n, {~u64{0}}).waits);
  u64 missed = 0;
  for (u64 i = 0; i < periods; ++i) {
    const u64 release = first + i * kPeriod;
    if (k.now() < release) k.advance(release - k.now());
    if (k.cpu().current != &t || k.now() != release) ++missed;
    const u64 had = consumed(t);
    k.advance(kWork);
    if (consumed(t) != had + kWork) ++missed;
    if (!k.call(t, Call::notification_wait, n, {~u64{0}}).waits) ++missed;  // released again already
  }
  EXPECT_EQ(missed, 0u);
  EXPECT_EQ(r->budget().overruns(), 0u);
  expect_near(consumed(greedy), periods * kPeriod * 4 / 10, kMs);
}

}  // namespace
}  // namespace keel::testing
