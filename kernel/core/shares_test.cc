// Groups: shares by weight, budgets, memory pressure, killing.
#include "kernel/core/scheduling_rig_test.h"

namespace keel::testing {
namespace {

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

}  // namespace
}  // namespace keel::testing
