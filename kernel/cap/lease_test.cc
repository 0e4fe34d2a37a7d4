#include "kernel/cap/lease.h"

#include "kernel/cap/two_processes_rig_test.h"

namespace keel::testing {
namespace {

class LeaseTest : public TwoProcesses {
 protected:
  CallResult derive(CapIndex parent, u64 after_ns, Rights rights = all_rights(ObjectKind::notification)) {
    return k.call(a, Call::cap_derive_until, parent, {rights, 0, k.now() + after_ns});
  }
  void pass(u64 ns) {
    k.advance(ns);
    k.settle();
  }
  CapIndex top = notification(a);
};

TEST_F(LeaseTest, EndsAtItsTimeWithAllThatWasDerived) {
  CapIndex leased = derive(top, 1000).cap();
  CapIndex below = k.copy(a, leased, b, kAll);
  CapIndex further = k.copy(b, below, b, kAll);
  pass(900);
  EXPECT_TRUE(live(a, leased) && live(b, below) && live(b, further));
  pass(100);
  EXPECT_FALSE(live(a, leased) || live(b, below) || live(b, further));
  EXPECT_TRUE(live(a, top));
}

TEST_F(LeaseTest, WakesWhoWaitsThroughIt) {
  CapIndex leased = derive(top, 1000).cap();
  EXPECT_TRUE(k.call(a, Call::notification_wait, leased, {~u64{0}}).waits);
  pass(1000);
  EXPECT_TRUE(k.result(a).is(Status::revoked));
}

TEST_F(LeaseTest, DoesNotOutliveItsParent) {
  CapIndex first = derive(top, 1000).cap();
  CapIndex second = derive(first, 5000).cap();
  pass(1000);
  EXPECT_FALSE(live(a, first) || live(a, second));
  EXPECT_EQ(k.cpu().timers.earliest(), kForever);
}

TEST_F(LeaseTest, AShorterOneEndsFirst) {
  CapIndex first = derive(top, 5000).cap();
  CapIndex second = derive(first, 1000).cap();
  pass(1000);
  EXPECT_TRUE(live(a, first));
  EXPECT_FALSE(live(a, second));
}

TEST_F(LeaseTest, IsOverWithItsCapability) {
  CapIndex leased = derive(top, 1000).cap();
  EXPECT_TRUE(k.call(a, Call::cap_delete, leased).ok());
  k.settle();
  EXPECT_EQ(k.cpu().timers.earliest(), kForever);
}

TEST_F(LeaseTest, IsOverWithARevocationFromAbove) {
  CapIndex leased = derive(top, 1000).cap();
  CapIndex below = k.copy(a, leased, b, kAll);
  EXPECT_TRUE(k.call(a, Call::cap_revoke, top).ok());
  EXPECT_FALSE(live(a, leased) || live(b, below));
  k.settle();
  EXPECT_EQ(k.cpu().timers.earliest(), kForever);
}

TEST_F(LeaseTest, HoldsWhenTheCapabilityIsGivenOnAndDeleted) {
  CapIndex leased = derive(top, 1000).cap();
  CapIndex below = k.copy(a, leased, b, kAll);
  EXPECT_TRUE(k.call(a, Call::cap_delete, leased).ok());
  EXPECT_TRUE(live(b, below));
  pass(1000);
  EXPECT_FALSE(live(b, below));
}

TEST_F(LeaseTest, HoldsWhenTheCapabilityIsMoved) {
  CapIndex leased = derive(top, 1000).cap();
  CapIndex moved = k.call(a, Call::cap_move, leased).cap();
  EXPECT_TRUE(live(a, moved));
  pass(1000);
  EXPECT_FALSE(live(a, moved));
}

TEST_F(LeaseTest, HoldsWhenItsMakerDies) {
  CapIndex leased = derive(top, 1000).cap();
  CapIndex below = k.copy(a, leased, b, kAll);
  a.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_TRUE(live(b, below));
  pass(1000);
  EXPECT_FALSE(live(b, below));
}

TEST_F(LeaseTest, UnbindsAtItsTime) {
  CapIndex leased = derive(top, 1000).cap();
  CapIndex group = k.give(a, k.root());
  CapIndex timer = k.call(a, Call::timer_create, group, {leased.value, 1}).cap();
  pass(1000);
  EXPECT_TRUE(k.call(a, Call::timer_set, timer, {k.now() + 10, 0}).ok());
  pass(10);
  EXPECT_TRUE(k.call(a, Call::notification_wait, top, {0}).is(Status::timed_out));
}

TEST_F(LeaseTest, ManyEndInBoundedSteps) {
  CapIndex leased = derive(top, 1000).cap();
  std::vector<CapIndex> below;
  for (u32 i = 0; i < 200; ++i) below.push_back(k.copy(a, leased, b, kAll));
  k.cpu().arch.clock += 1000;
  enter_timer(k.cpu());
  EXPECT_TRUE(live(b, below.front()));  // one entry is not enough for all
  k.settle();
  for (CapIndex index : below) EXPECT_FALSE(live(b, index));
}

TEST_F(LeaseTest, MeanwhileNothingIsDerived) {
  CapIndex leased = derive(top, 1000).cap();
  for (u32 i = 0; i < 200; ++i) k.copy(a, leased, b, kAll);
  k.cpu().arch.clock += 1000;
  enter_timer(k.cpu());
  if (live(a, leased)) EXPECT_TRUE(k.call(a, Call::cap_derive, leased, {0}).is(Status::revoked));
  k.settle();
}

TEST_F(LeaseTest, ErrorsChangeNothing) {
  CapIndex weak = k.copy(a, top, a, rights::inspect);
  EXPECT_TRUE(derive(weak, 1000, 0).is(Status::missing_right));
  EXPECT_TRUE(derive(k.copy(a, top, a, rights::derive), 1000).is(Status::missing_right));
  EXPECT_TRUE(k.call(a, Call::cap_derive_until, top, {0, 0, k.now()}).is(Status::invalid_argument));
  EXPECT_TRUE(k.call(a, Call::cap_derive_until, top, {0, 0, 0}).is(Status::invalid_argument));
  EXPECT_TRUE(k.call(a, Call::cap_derive_until, top, {0, 0, ~u64{0}}).ok());  // for ever: as cap_derive
  EXPECT_EQ(k.cpu().timers.earliest(), kForever);
  a.process->caps.set_limit(a.process->caps.used());
  EXPECT_TRUE(derive(top, 1000).is(Status::no_slot));
  k.settle();
  EXPECT_EQ(k.cpu().timers.earliest(), kForever);
}

TEST_F(LeaseTest, CountsAsTwoGenerations) {
  CapIndex last = top;
  for (u32 i = 0; i < CapNode::kMaxDepth - 1; ++i) last = k.copy(a, last, a, kAll);
  EXPECT_TRUE(derive(last, 1000).is(Status::too_deep));
  k.settle();
  EXPECT_EQ(k.cpu().timers.earliest(), kForever);
}

TEST_F(LeaseTest, RunningOutOfMemoryChangesNothing) {
  EXPECT_GE(each_allocation_fails([&] {
              auto r = derive(top, 1000);
              k.settle();
              return r;
            }),
            2u);
  pass(1000);
}

}  // namespace
}  // namespace keel::testing
