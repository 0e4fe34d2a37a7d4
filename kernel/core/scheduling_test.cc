// Budgets, reservations, shares of groups, and the accounts of all this, on a simulated clock: one time stamp is one
// nanosecond, and time passes only when a test says so.
#include <gtest/gtest.h>

#include "kernel/core/reservation.h"
#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

constexpr u64 kMs = 1'000'000;
constexpr u64 kUs = 1'000;
constexpr u32 kRealTime = 50;

class SchedulingTest : public ::testing::Test {
 protected:
  SchedulingTest() : before(k.baseline()) {}
  ~SchedulingTest() override {
    k.check();
    k.tear_down();
    EXPECT_EQ(k.baseline(), before);
  }
  // The notification may be null.
  void tell(CpuBudget& budget, Notification* n, u64 bits) {
    swap_in(n, bits, [&](Binding<Notification>& told) { budget.notify(k.cpu(), told); });
  }
  void tell_pressure(ResourceGroup& group, Notification* n, u64 bits, u64 pages) {
    swap_in(n, bits, [&](Binding<Notification>& told) { group.notify_pressure(k.cpu(), told, pages); });
  }
  template <class F>
  void swap_in(Notification* n, u64 bits, F f) {
    Binding<Notification> told;
    if (n != nullptr) MUST(told.bind(k.cpu(), {*n, nullptr, k.root(), bits}));
    f(told);
    told.release(k.cpu());
  }
  Thread* runs() {
    k.cpu().reschedule = true;
    enter_self_interrupt(k.cpu());
    k.check();
    return k.cpu().current;
  }
  RefPtr<Reservation> reserve(u32 level, u64 budget_ns, u64 period_ns) {
    auto r = MUST(Reservation::create(k.cpu(), k.root()));
    MUST(r->configure(k.cpu(), level, budget_ns, period_ns));
    return r;
  }
  RefPtr<ResourceGroup> group(u32 weight, ResourceGroup* parent = nullptr) {
    auto g = MUST(ResourceGroup::create(k.cpu(), parent != nullptr ? *parent : k.root()));
    g->set_cpu(k.cpu(), 0, 0, weight);
    return g;
  }
  Thread& thread_in(ResourceGroup& g, u32 level = kNormalLevel) { return k.make_thread(k.make_process(g), level); }
  u64 consumed(const Thread& t) {
    k.cpu().bring_accounts_up_to_date();
    return t.own_context.consumed;
  }
  u64 consumed(const ResourceGroup& g) {
    k.cpu().bring_accounts_up_to_date();
    return g.consumed(k.cpu());
  }
  static void expect_near(u64 value, u64 wanted, u64 slack) {
    EXPECT_GE(value + slack, wanted);
    EXPECT_LE(value, wanted + slack);
  }

  TestKernel k;
  TestMachine::Baseline before;
};

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

// --- A budget that ends while a server works on it

class LendingTest : public SchedulingTest {
 protected:
  LendingTest() {
    auto port = MUST(Port::create(k.cpu(), k.root(), 4));
    receive = k.give(server, *port);
    reservation = reserve(40, 100 * kUs, kMs);
    MUST(reservation->bind(k.cpu(), client));
    EXPECT_TRUE(k.call(server, Call::receive, receive).waits);
  }
  ~LendingTest() override { reservation = nullptr; }
  void call(Thread& from, u64 deadline = 0) {
    from.resume(k.cpu());
    if (deadline != 0) k.page(from).deadline = deadline;
    EXPECT_TRUE(k.call(from, Call::call, k.copy(server, receive, from, rights::port::call), {},
                       deadline != 0 ? Descriptor::kDeadline : 0)
                    .waits);
    k.check();
  }
  // The client's call is being served, its budget is used up, and `busy` runs.
  void exhaust() {
    call(client);
    EXPECT_EQ(runs(), &server);
    EXPECT_EQ(server.context, &client.own_context);
    k.advance(101 * kUs);
    EXPECT_TRUE(Scheduler::is_parked(server));
    EXPECT_EQ(k.cpu().current, &busy);
  }

  Thread& server = k.make_thread(17);
  Thread& client = k.make_thread();
  Thread& busy = k.make_thread(30);
  Thread& waiter = k.make_thread(35);
  CapIndex receive;
  RefPtr<Reservation> reservation;
  bool initial = (waiter.suspend(k.cpu()), true);
};

TEST_F(LendingTest, WithoutOthersTheServerWaitsForTheReplenishment) {
  exhaust();
  k.advance(kMs - 100 * kUs);
  EXPECT_EQ(k.cpu().current, &server);
  EXPECT_TRUE(k.call(server, Call::reply_receive, receive, {5}, Descriptor::make(1)).waits);
  EXPECT_EQ(k.result(client).word[0], 5u);
}

TEST_F(LendingTest, WithAWaiterItGoesOnOnItsContext) {
  exhaust();
  call(waiter);
  EXPECT_EQ(runs(), &server);
  EXPECT_EQ(server.context, &waiter.own_context);
  k.advance(10 * kMs);
  EXPECT_EQ(k.cpu().current, &server);
  EXPECT_GE(consumed(waiter), 10 * kMs);
  // The reply ends the loan; then the waiter is served on its own account.
  EXPECT_TRUE(k.call(server, Call::reply_receive, receive, {5}, Descriptor::make(1)).ok());
  EXPECT_EQ(k.result(client).word[0], 5u);
  EXPECT_EQ(server.caller, &waiter);
  EXPECT_EQ(server.context, &waiter.own_context);
  EXPECT_EQ(waiter.borrower, nullptr);
  EXPECT_TRUE(k.call(server, Call::reply_receive, receive).waits);
  EXPECT_EQ(server.context, &server.own_context);
}

TEST_F(LendingTest, AWaiterThatIsThereAlreadyLendsAtOnce) {
  call(client);
  call(waiter);
  EXPECT_EQ(runs(), &server);
  k.advance(101 * kUs);
  EXPECT_EQ(k.cpu().current, &server);
  EXPECT_EQ(server.context, &waiter.own_context);
}

TEST_F(LendingTest, WhenTheWaiterGivesUpTheServerIsBackOnItsCallersContext) {
  exhaust();
  call(waiter, k.now() + 200 * kUs);
  EXPECT_EQ(runs(), &server);
  k.advance(300 * kUs);
  EXPECT_TRUE(k.result(waiter).is(Status::timed_out));
  EXPECT_EQ(server.context, &client.own_context);
  waiter.suspend(k.cpu());
  EXPECT_EQ(runs(), &busy);
  k.advance(650 * kUs);
  EXPECT_EQ(runs(), &server);
}

TEST_F(LendingTest, WhenTheWaiterDies) {
  exhaust();
  call(waiter);
  EXPECT_EQ(runs(), &server);
  waiter.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_EQ(server.context, &client.own_context);
  EXPECT_EQ(runs(), &busy);
}

TEST_F(LendingTest, WhenTheCallerDiesTheServerIsOnItsOwnAndHurries) {
  exhaust();
  call(waiter);
  EXPECT_EQ(runs(), &server);
  client.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_EQ(server.context, &server.own_context);
  EXPECT_EQ(server.own_context.level, 35u);
  EXPECT_EQ(waiter.borrower, nullptr);
  EXPECT_EQ(runs(), &server);
}

TEST_F(LendingTest, WhenTheServerTurnsToAnotherPort) {
  MUST(reservation->bind(k.cpu(), server));
  const CapIndex second = k.give(server, *MUST(Port::create(k.cpu(), k.root(), 0)));
  EXPECT_TRUE(k.call(client, Call::send, k.copy(server, receive, client, rights::port::send)).ok());
  EXPECT_TRUE(k.result(server).ok());  // nobody waits for its answer
  runs();
  k.advance(101 * kUs);
  call(waiter);
  EXPECT_EQ(runs(), &server);
  EXPECT_EQ(server.context, &waiter.own_context);
  EXPECT_TRUE(k.call(server, Call::receive, second).waits);
  EXPECT_EQ(server.context, &server.own_context);
  EXPECT_EQ(waiter.borrower, nullptr);
  k.check();
}

TEST_F(LendingTest, WhenTheServerDies) {
  exhaust();
  call(waiter);
  EXPECT_EQ(runs(), &server);
  server.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_TRUE(k.result(client).is(Status::peer_died));
  EXPECT_EQ(waiter.borrower, nullptr);
}

TEST_F(LendingTest, WhenTheCallIsCancelledOrDeferred) {
  exhaust();
  call(waiter);
  EXPECT_EQ(runs(), &server);
  CapIndex reply = k.give(server, *MUST(Reply::create(k.cpu(), k.root())));
  EXPECT_TRUE(k.call(server, Call::reply_take, reply).ok());
  EXPECT_EQ(server.context, &server.own_context);
  EXPECT_EQ(waiter.borrower, nullptr);
  k.check();
  client.cancel(k.cpu());
  EXPECT_TRUE(k.call(server, Call::reply_send, reply).is(Status::cancelled));
}

TEST_F(LendingTest, ANestedServerIsHelpedByTheWaiterOfTheOuter) {
  Thread& inner = k.make_thread(17);
  CapIndex inner_receive = k.give(inner, *MUST(Port::create(k.cpu(), k.root(), 0)));
  EXPECT_TRUE(k.call(inner, Call::receive, inner_receive).waits);
  call(client);
  EXPECT_TRUE(k.call(server, Call::call, k.copy(inner, inner_receive, server, rights::port::call)).waits);
  EXPECT_EQ(runs(), &inner);
  k.advance(101 * kUs);
  EXPECT_EQ(k.cpu().current, &busy);
  call(waiter);
  EXPECT_EQ(runs(), &inner);
  EXPECT_EQ(inner.context, &waiter.own_context);
  EXPECT_EQ(server.context, &waiter.own_context);
  EXPECT_TRUE(k.call(inner, Call::reply_receive, inner_receive).waits);
  EXPECT_EQ(runs(), &server);
  EXPECT_EQ(server.context, &waiter.own_context);
  EXPECT_TRUE(k.call(server, Call::reply_receive, receive).ok());
  EXPECT_EQ(server.caller, &waiter);
}

TEST_F(LendingTest, TheServersOwnContextReturnsWithTheNextPeriodWhenTheLendersIsUsedUp) {
  auto small = reserve(35, 50 * kUs, 10 * kMs);
  MUST(small->bind(k.cpu(), waiter));
  exhaust();
  call(waiter);
  EXPECT_EQ(runs(), &server);
  k.advance(60 * kUs);
  EXPECT_EQ(k.cpu().current, &busy);
  k.advance(900 * kUs);
  EXPECT_EQ(k.cpu().current, &server);
  EXPECT_EQ(server.context, &client.own_context);
}

// --- Groups

TEST_F(SchedulingTest, GroupsShareByWeight) {
  auto a = group(100), b = group(200), c = group(500);
  // A mix: one thread, several, and one that sleeps now and then.
  Thread& a1 = thread_in(*a);
  Thread* more[3] = {&thread_in(*b), &thread_in(*b, 20), &thread_in(*b, 20)};
  Thread& c1 = thread_in(*c, 30);
  thread_in(*c, 30);
  for (u32 i = 0; i < 4000; ++i) {
    k.advance(3 * kMs + i % 7 * 100 * kUs);
    if (i % 50 == 49) c1.suspend(k.cpu());
    if (i % 50 == 0) c1.resume(k.cpu());
    if (i % 3 == 0) enter_self_interrupt(k.cpu());
  }
  k.check();
  const u64 all = consumed(*a) + consumed(*b) + consumed(*c);
  EXPECT_GT(all, 12'000 * kMs);
  expect_near(consumed(*a), all / 8, all / 8 * 2 / 100);
  expect_near(consumed(*b), all / 4, all / 4 * 2 / 100);
  expect_near(consumed(*c), all * 5 / 8, all * 5 / 8 * 2 / 100);
  EXPECT_EQ(consumed(a1), consumed(*a));
  EXPECT_EQ(consumed(*more[0]), 0u);  // inside a group levels are strict
  expect_near(consumed(*more[1]), consumed(*more[2]), Scheduler::kQuantumNs);
}

TEST_F(SchedulingTest, ChildrenShareWhatTheirParentGets) {
  // root: parent (100) with children x (300), y (100) and a thread of its own (100); other (100).
  auto parent = group(100), other = group(100);
  auto x = group(300, parent.get()), y = group(100, parent.get());
  Thread& own = thread_in(*parent);
  thread_in(*x);
  thread_in(*y);
  thread_in(*other);
  runs();
  k.advance(10'000 * kMs);
  expect_near(consumed(*other), 5'000 * kMs, 20 * kMs);
  expect_near(consumed(*parent), 5'000 * kMs, 20 * kMs);
  expect_near(consumed(*x), 3'000 * kMs, 20 * kMs);
  expect_near(consumed(*y), 1'000 * kMs, 20 * kMs);
  expect_near(consumed(own), 1'000 * kMs, 20 * kMs);
}

TEST_F(SchedulingTest, AGroupThatSleptDoesNotSaveUp) {
  auto a = group(100), b = group(100);
  thread_in(*a);
  Thread& sleeper = thread_in(*b);
  sleeper.suspend(k.cpu());
  runs();
  k.advance(1'000 * kMs);
  sleeper.resume(k.cpu());
  EXPECT_EQ(runs(), &sleeper);  // it comes first, for it had the least
  k.advance(100 * kMs);
  expect_near(consumed(*b), 50 * kMs, 11 * kMs);
}

TEST_F(SchedulingTest, AWokenThreadOfAnotherGroupPreemptsWhoHadMore) {
  auto a = group(100), b = group(100);
  Thread& busy = thread_in(*a);
  Thread& t = thread_in(*b);
  CapIndex n = k.give(t, *MUST(Notification::create(k.cpu(), k.root())));
  for (u32 i = 0; i < 50; ++i) {
    EXPECT_TRUE(k.call(t, Call::notification_wait, n, {~u64{0}}).waits);
    EXPECT_EQ(runs(), &busy);
    k.advance(2 * kMs);
    k.object<Notification>(t, n).signal(k.cpu(), 1);
    enter_self_interrupt(k.cpu());
    EXPECT_EQ(k.cpu().current, &t);
  }
}

TEST_F(SchedulingTest, AGroupsBudgetLimitsAllItsThreadsInEveryClass) {
  auto g = group(100);
  auto child = group(100, g.get());
  auto n = MUST(Notification::create(k.cpu(), k.root()));
  tell(g->budget(), n.get(), 2);
  g->set_cpu(k.cpu(), 3 * kMs, 10 * kMs, 100);
  Thread& normal = thread_in(*g);
  Thread& high = thread_in(*child, 40);
  Thread& outside = k.make_thread();
  EXPECT_EQ(runs(), &high);
  k.advance(1'000 * kMs);
  expect_near(consumed(*g), 300 * kMs, 100 * kUs);
  EXPECT_EQ(consumed(*g), consumed(normal) + consumed(high));
  expect_near(consumed(outside), 700 * kMs, 100 * kUs);
  EXPECT_EQ(n->take(k.cpu()), 2u);
  EXPECT_EQ(g->budget().overruns(), 100u);
  g->set_cpu(k.cpu(), 0, 0, 100);  // all that are parked come back
  EXPECT_EQ(runs(), &high);
  k.advance(100 * kMs);
  EXPECT_EQ(k.cpu().current, &high);
}

TEST_F(SchedulingTest, ALimitedGroupGetsItsBudgetBesideAnUnlimitedOne) {
  auto parent = group(100);
  auto a = group(100, parent.get()), b = group(300, parent.get());
  b->set_cpu(k.cpu(), 50 * kMs, 100 * kMs, 300);
  thread_in(*a);
  thread_in(*b);
  Thread& shell = thread_in(*parent);
  CapIndex n = k.give(shell, *MUST(Notification::create(k.cpu(), k.root())));
  k.cpu().arch.clock_step = 7;  // time passes in the kernel, too
  for (u32 i = 0; i < 1000; ++i) {
    EXPECT_TRUE(k.call(shell, Call::notification_wait, n, {~u64{0}}).waits);
    k.advance(7 * kMs);
    k.object<Notification>(shell, n).signal(k.cpu(), 1);
    enter_self_interrupt(k.cpu());
    k.advance(50 * kUs);
  }
  expect_near(consumed(*b), 3'500 * kMs, 100 * kMs);
  EXPECT_LE(k.cpu().context_since, k.cpu().arch.clock);
}

TEST_F(SchedulingTest, AServersTimeIsItsCallersGroups) {
  auto clients = group(100), servers = group(100);
  Thread& server = thread_in(*servers);
  Thread& client = thread_in(*clients);
  CapIndex receive = k.give(server, *MUST(Port::create(k.cpu(), k.root(), 0)));
  for (bool fast : {false, true}) {
    k.fast = fast;
    EXPECT_TRUE(k.call(server, Call::receive, receive).waits);
    EXPECT_TRUE(k.call(client, Call::call, k.copy(server, receive, client, rights::port::call)).waits);
    const u64 theirs = consumed(*clients);
    const u64 ours = consumed(*servers);
    k.advance(5 * kMs);
    EXPECT_EQ(k.cpu().current, &server);
    EXPECT_EQ(consumed(*clients), theirs + 5 * kMs);
    EXPECT_EQ(consumed(*servers), ours);
    EXPECT_TRUE(k.call(server, Call::reply_receive, receive).waits);
    server.cancel(k.cpu());
  }
}

TEST_F(SchedulingTest, MemoryPressureIsToldOncePerCrossing) {
  auto g = group(100);
  auto child = group(100, g.get());
  auto n = MUST(Notification::create(k.cpu(), k.root()));
  tell_pressure(*g, n.get(), 8, 100);
  MUST(child->charge(Resource::frames, 100));
  k.settle();
  EXPECT_EQ(n->take(k.cpu()), 0u);
  for (u32 i = 0; i < 3; ++i) {
    MUST(child->charge(Resource::frames, 1));
    k.settle();
    EXPECT_EQ(n->take(k.cpu()), 8u);
    MUST(child->charge(Resource::frames, 1));
    k.settle();
    EXPECT_EQ(n->take(k.cpu()), 0u);
    child->uncharge(Resource::frames, 2);
  }
  child->uncharge(Resource::frames, 100);
  tell_pressure(k.root(), n.get(), 1, k.root().usage(Resource::frames));
  EXPECT_LE(k.root().limit(Resource::frames), 32 * kMiB / kPageSize);
  MUST(k.root().charge(Resource::frames, 1));
  k.settle();
  EXPECT_EQ(n->take(k.cpu()), 1u);
  k.root().uncharge(Resource::frames, 1);
  tell_pressure(k.root(), nullptr, 0, 0);
}

TEST_F(SchedulingTest, KillingAGroupGivesEverythingBackAndLeavesItUsable) {
  Thread& killer = k.make_thread(40);
  auto g = group(100);
  CapIndex cap = k.give(killer, *g);
  const auto exact = k.baseline();
  for (u32 round = 0; round < 2; ++round) {
    auto child = group(100, g.get());
    for (u32 i = 0; i < 20; ++i) {
      auto p = MUST(Process::create(k.cpu(), i % 2 == 0 ? *g : *child, ProcessName{"victim"}));
      for (u32 j = 0; j < 3; ++j) {
        MUST(Thread::create(k.cpu(), *p, kNormalLevel))->start(k.cpu(), kCallSite, 0, 0, 0);
      }
    }
    child = nullptr;
    EXPECT_EQ(k.call(killer, Call::group_processes, cap).word[1] >> 32, 3u);
    auto outside = k.call(killer, Call::group_processes, cap, {~u64{0} - 1});
    EXPECT_TRUE(outside.is(Status::not_found));
    u32 entries = 0;
    while (!k.call_once(killer, Call::group_kill, cap,
                        {9, entries == 0 ? 0 : killer.state.word[1], entries == 0 ? 0 : killer.state.word[2]})) {
      ++entries;
    }
    EXPECT_GT(entries, 3u);
    EXPECT_TRUE(k.result(killer).ok());
    k.settle();  // their last references go with the next entries
    EXPECT_TRUE(k.call(killer, Call::group_processes, cap).is(Status::not_found));
    EXPECT_EQ(k.baseline(), exact);
  }
  // Itself among them: the others first.
  Thread& inside = k.make_thread(k.make_process(*g), 40);
  Thread& other = k.make_thread(k.make_process(*g));
  EXPECT_TRUE(k.call(inside, Call::group_kill, k.give(inside, *g), {9}).dead || !inside.process->alive());
  k.settle();
  EXPECT_EQ(other.process->state(), ProcessState::dead);
  EXPECT_EQ(inside.process->state(), ProcessState::dead);
  EXPECT_TRUE(killer.process->alive());
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
