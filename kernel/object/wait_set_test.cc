// Wait sets, through their calls, on one CPU. On several: the scenario `sets` of the simulator.
#include <gtest/gtest.h>

#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

class WaitSetTest : public ::testing::TestWithParam<bool> {
 protected:
  WaitSetTest() : before(k.baseline()) { k.fast = GetParam(); }
  ~WaitSetTest() override {
    k.check();
    k.tear_down();
    EXPECT_EQ(k.baseline(), before);
  }
  CapIndex create(Call call, u64 argument = 0) {
    const CallResult made = k.call(a, call, group, {argument});
    EXPECT_TRUE(made.ok());
    return made.cap();
  }
  CallResult add(CapIndex member, u64 key) { return k.call(a, Call::wait_set_add, set, {member.value, key}); }
  CallResult wait(Thread& t, u64 deadline = kNever) { return k.call(t, Call::wait_set_wait, set, {deadline}); }
  CallResult poll() { return wait(a, 0); }
  CallResult signal(CapIndex bell, u64 bits = 1) { return k.call(c, Call::notification_signal, bell, {bits}); }
  static void expect_ready(const CallResult& r, u64 key, bool gone = false) {
    ASSERT_TRUE(r.ok());
    EXPECT_EQ(r.word[0], key);
    EXPECT_EQ(r.word[1], gone);
  }

  static constexpr u64 kNever = ~u64{0};
  TestKernel k;
  TestMachine::Baseline before;
  Thread& a = k.make_thread();
  Thread& b = k.make_thread(*a.process);
  Thread& c = k.make_thread(*a.process);
  CapIndex group = k.give(a, k.root());
  CapIndex set = create(Call::wait_set_create);
};
INSTANTIATE_TEST_SUITE_P(Paths, WaitSetTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "fast" : "slow"; });

TEST_P(WaitSetTest, ReportsANotificationUntilItsBitsAreTaken) {
  const CapIndex bell = create(Call::notification_create);
  ASSERT_TRUE(add(bell, 7).ok());
  EXPECT_TRUE(poll().is(Status::timed_out));
  EXPECT_TRUE(signal(bell).ok());
  EXPECT_TRUE(signal(bell, 4).ok());
  expect_ready(poll(), 7);
  expect_ready(poll(), 7);
  EXPECT_EQ(k.call(a, Call::notification_wait, bell, {0}).word[0], 5u);
  EXPECT_TRUE(poll().is(Status::timed_out));
  EXPECT_TRUE(wait(a).waits);
  EXPECT_TRUE(signal(bell).ok());
  expect_ready(k.result(a), 7);
}

TEST_P(WaitSetTest, AMemberThatIsReadyWhenItIsAddedIsReported) {
  const CapIndex bell = create(Call::notification_create);
  EXPECT_TRUE(signal(bell).ok());
  EXPECT_TRUE(wait(a).waits);
  ASSERT_TRUE(k.call(c, Call::wait_set_add, set, {bell.value, 7}).ok());
  expect_ready(k.result(a), 7);
}

TEST_P(WaitSetTest, ReportsAPortForCallsMessagesAndSignals) {
  const CapIndex port = create(Call::port_create, 4);
  const CapIndex bell = create(Call::notification_create);
  ASSERT_TRUE(add(port, 1).ok());
  ASSERT_TRUE(k.call(a, Call::port_bind, port, {bell.value}).ok());
  EXPECT_TRUE(wait(a).waits);
  EXPECT_TRUE(k.call(c, Call::send, port, {5}, Descriptor::make(1)).ok());
  expect_ready(k.result(a), 1);
  EXPECT_TRUE(k.call(b, Call::call, port, {6}, Descriptor::make(1)).waits);
  EXPECT_EQ(k.call(a, Call::receive, port).word[0], 5u);
  expect_ready(poll(), 1);
  EXPECT_EQ(k.call(a, Call::receive, port).word[0], 6u);
  EXPECT_TRUE(poll().is(Status::timed_out));
  EXPECT_TRUE(signal(bell, 8).ok());
  expect_ready(poll(), 1);
  EXPECT_EQ(k.call(a, Call::receive, port).word[0], 8u);
  EXPECT_TRUE(poll().is(Status::timed_out));
  EXPECT_TRUE(k.result(b).is(Status::peer_died));
  // A caller that gives up is nothing to receive any more.
  EXPECT_TRUE(k.call(b, Call::call, port, {6}, Descriptor::make(1)).waits);
  b.cancel(k.cpu());
  EXPECT_TRUE(poll().is(Status::timed_out));
}

TEST_P(WaitSetTest, AWaitingReceiverGetsWhatComesAndTheSetNothing) {
  const CapIndex port = create(Call::port_create, 4);
  ASSERT_TRUE(add(port, 1).ok());
  EXPECT_TRUE(k.call(b, Call::receive, port).waits);
  EXPECT_TRUE(wait(a).waits);
  EXPECT_TRUE(k.call(c, Call::call, port, {6}, Descriptor::make(1)).waits);
  EXPECT_EQ(k.result(b).word[0], 6u);
  EXPECT_TRUE(k.result(a).waits);
  EXPECT_TRUE(k.call(b, Call::reply_receive, port).waits);
  EXPECT_TRUE(k.result(c).ok());
}

TEST_P(WaitSetTest, ReadyMembersTakeTurns) {
  CapIndex bell[3];
  for (u64 i = 0; i < 3; ++i) {
    bell[i] = create(Call::notification_create);
    ASSERT_TRUE(add(bell[i], i).ok());
    EXPECT_TRUE(signal(bell[i]).ok());
  }
  for (u64 round = 0; round < 6; ++round) expect_ready(poll(), round % 3);
  EXPECT_TRUE(k.call(a, Call::notification_wait, bell[1], {0}).ok());
  for (u64 key : {0, 2, 0, 2}) expect_ready(poll(), key);
}

TEST_P(WaitSetTest, EachEventWakesOneWaiter) {
  const CapIndex port = create(Call::port_create, 4);
  ASSERT_TRUE(add(port, 1).ok());
  EXPECT_TRUE(wait(a).waits);
  EXPECT_TRUE(wait(b).waits);
  EXPECT_TRUE(k.call(c, Call::send, port, {1}, Descriptor::make(1)).ok());
  expect_ready(k.result(a), 1);
  EXPECT_TRUE(k.result(b).waits);
  EXPECT_TRUE(k.call(c, Call::send, port, {2}, Descriptor::make(1)).ok());
  expect_ready(k.result(b), 1);
}

TEST_P(WaitSetTest, WaitsEndByDeadlineAndCancellation) {
  EXPECT_TRUE(wait(a, k.now() + 5000).waits);
  k.advance(5000);
  EXPECT_TRUE(k.result(a).is(Status::timed_out));
  EXPECT_TRUE(wait(a).waits);
  a.cancel(k.cpu());
  EXPECT_TRUE(k.result(a).is(Status::cancelled));
  a.cancel(k.cpu());  // the next one
  EXPECT_TRUE(wait(a).is(Status::cancelled));
  EXPECT_TRUE(wait(a).waits);
  a.process->kill(k.cpu(), 1);
  k.settle();
}

TEST_P(WaitSetTest, TheEndOfTheSetOrOfItsCapabilityEndsWaits) {
  const CapIndex bell = create(Call::notification_create);
  ASSERT_TRUE(add(bell, 1).ok());
  Thread& guest = k.make_thread();
  const CapIndex lent = k.copy(a, set, guest, rights::wait_set::wait);
  EXPECT_TRUE(k.call(guest, Call::wait_set_wait, lent, {kNever}).waits);
  EXPECT_TRUE(wait(b).waits);
  EXPECT_TRUE(k.call(a, Call::cap_revoke, set).ok());
  EXPECT_TRUE(k.result(guest).is(Status::revoked));
  EXPECT_TRUE(k.result(b).waits);
  EXPECT_TRUE(k.call(a, Call::cap_delete, set).ok());
  EXPECT_TRUE(k.result(b).is(Status::revoked));
  k.settle();
  // Its member is free for another.
  set = create(Call::wait_set_create);
  EXPECT_TRUE(add(bell, 1).ok());
}

TEST_P(WaitSetTest, AMemberThatIsClosedIsReportedAndLeaves) {
  const CapIndex bell = create(Call::notification_create);
  const CapIndex port = create(Call::port_create, 0);
  ASSERT_TRUE(add(bell, 1).ok());
  ASSERT_TRUE(add(port, 2).ok());
  EXPECT_TRUE(wait(a).waits);
  EXPECT_TRUE(k.call(c, Call::cap_delete, bell).ok());
  expect_ready(k.result(a), 1, true);
  EXPECT_TRUE(poll().is(Status::timed_out));
  EXPECT_TRUE(k.call(a, Call::wait_set_remove, set, {1}).is(Status::not_found));
  EXPECT_TRUE(k.call(c, Call::cap_delete, port).ok());
  expect_ready(poll(), 2, true);
}

TEST_P(WaitSetTest, ARevokedMemberIsReportedAndLeavesAndMayComeBack) {
  const CapIndex bell = create(Call::notification_create);
  const CapIndex lent = k.call(a, Call::cap_derive, bell, {rights::notification::wait, 0}).cap();
  ASSERT_TRUE(add(lent, 1).ok());
  EXPECT_TRUE(wait(a).waits);
  EXPECT_TRUE(k.call(c, Call::cap_revoke, bell).ok());
  expect_ready(k.result(a), 1, true);
  EXPECT_TRUE(signal(bell).ok());
  EXPECT_TRUE(poll().is(Status::timed_out));
  EXPECT_TRUE(add(bell, 1).ok());
  expect_ready(poll(), 1);
  // One that is gone can also be removed.
  EXPECT_TRUE(k.call(c, Call::cap_revoke, bell).ok());
  EXPECT_TRUE(k.call(a, Call::wait_set_remove, set, {1}).ok());
  EXPECT_TRUE(poll().is(Status::timed_out));
}

TEST_P(WaitSetTest, WhatIsRemovedIsReportedNoMore) {
  const CapIndex bell = create(Call::notification_create);
  ASSERT_TRUE(add(bell, 1).ok());
  EXPECT_TRUE(signal(bell).ok());
  EXPECT_TRUE(k.call(a, Call::wait_set_remove, set, {1}).ok());
  EXPECT_TRUE(poll().is(Status::timed_out));
  EXPECT_TRUE(signal(bell).ok());
  EXPECT_TRUE(poll().is(Status::timed_out));
  EXPECT_TRUE(add(bell, 2).ok());
  expect_ready(poll(), 2);
}

TEST_P(WaitSetTest, AnObjectHasOneObserver) {
  const CapIndex bell = create(Call::notification_create);
  const CapIndex other = create(Call::notification_create);
  const CapIndex port = create(Call::port_create, 0);
  ASSERT_TRUE(add(bell, 1).ok());
  EXPECT_TRUE(add(bell, 2).is(Status::busy));
  EXPECT_TRUE(k.call(a, Call::port_bind, port, {bell.value}).is(Status::busy));
  EXPECT_TRUE(add(other, 1).is(Status::already_exists));
  EXPECT_TRUE(k.call(a, Call::port_bind, port, {other.value}).ok());
  EXPECT_TRUE(add(other, 2).is(Status::busy));
  EXPECT_TRUE(add(port, 2).ok());
  EXPECT_TRUE(k.call(a, Call::wait_set_remove, set, {1}).ok());
  EXPECT_TRUE(k.call(a, Call::port_bind, port, {bell.value}).ok());
}

TEST_P(WaitSetTest, ACallerThatGivesUpMakesItsReplyReady) {
  const CapIndex port = create(Call::port_create);
  const CapIndex later = create(Call::reply_create);
  ASSERT_TRUE(add(later, 3).ok());
  const auto take = [&] {
    EXPECT_TRUE(k.call(b, Call::call, port, {1}, Descriptor::make(1)).waits);
    EXPECT_TRUE(k.call(a, Call::receive, port).ok());
    EXPECT_TRUE(k.call(a, Call::reply_take, later).ok());
  };
  take();
  EXPECT_TRUE(poll().is(Status::timed_out));
  EXPECT_TRUE(wait(c).waits);
  EXPECT_TRUE(k.call(a, Call::reply_send, later, {2}, Descriptor::make(1)).ok());
  EXPECT_EQ(k.result(b).word[0], 2u);
  EXPECT_TRUE(k.result(c).waits);  // an answer is no such end
  take();
  b.cancel(k.cpu());
  expect_ready(k.result(c), 3);
  expect_ready(poll(), 3);
  EXPECT_TRUE(k.call(a, Call::reply_send, later, {2}, Descriptor::make(1)).is(Status::cancelled));
  EXPECT_TRUE(poll().is(Status::timed_out));
  take();
  b.cancel(k.cpu());
  expect_ready(poll(), 3);
  take();  // the Reply has another caller now
  EXPECT_TRUE(poll().is(Status::timed_out));
  EXPECT_TRUE(k.call(a, Call::cap_delete, later).ok());
  expect_ready(poll(), 3, true);
}

TEST_P(WaitSetTest, ThreadsThatWaitOnTheMemberItselfComeFirst) {
  const CapIndex bell = create(Call::notification_create);
  ASSERT_TRUE(add(bell, 1).ok());
  EXPECT_TRUE(k.call(b, Call::notification_wait, bell, {kNever}).waits);
  EXPECT_TRUE(wait(a).waits);
  EXPECT_TRUE(signal(bell).ok());
  EXPECT_TRUE(k.result(b).ok());
  EXPECT_TRUE(k.result(a).waits);
  EXPECT_TRUE(signal(bell).ok());
  expect_ready(k.result(a), 1);
}

TEST_P(WaitSetTest, RightsAreNeededAndKindsChecked) {
  const CapIndex bell = create(Call::notification_create);
  const CapIndex port = create(Call::port_create, 0);
  const auto derive = [&](CapIndex from, u64 rights) { return k.call(a, Call::cap_derive, from, {rights, 0}).cap(); };
  const CapIndex waits = derive(set, rights::wait_set::wait);
  const CapIndex modifies = derive(set, rights::wait_set::modify);
  EXPECT_TRUE(k.call(a, Call::wait_set_add, waits, {bell.value, 1}).is(Status::missing_right));
  EXPECT_TRUE(k.call(a, Call::wait_set_remove, waits, {1}).is(Status::missing_right));
  EXPECT_TRUE(k.call(a, Call::wait_set_wait, modifies, {0}).is(Status::missing_right));
  EXPECT_TRUE(add(derive(bell, rights::notification::signal), 1).is(Status::missing_right));
  EXPECT_TRUE(add(derive(port, rights::port::call | rights::port::send), 1).is(Status::missing_right));
  EXPECT_TRUE(add(derive(create(Call::reply_create), rights::inspect), 1).is(Status::missing_right));
  EXPECT_TRUE(add(set, 1).is(Status::wrong_kind));
  EXPECT_TRUE(add(CapIndex(0x20), 1).is(Status::bad_capability));
  EXPECT_TRUE(k.call(a, Call::wait_set_add, bell, {bell.value, 1}).is(Status::wrong_kind));
  EXPECT_TRUE(k.call(a, Call::wait_set_wait, set, {0}, u64{1} << 8).is(Status::invalid_argument));
  EXPECT_TRUE(k.call(a, Call::wait_set_add, modifies, {bell.value, 1}).ok());
  EXPECT_TRUE(k.call(a, Call::wait_set_wait, waits, {0}).is(Status::timed_out));
}

TEST_P(WaitSetTest, EveryAllocationMayFail) {
  const CapIndex bell = create(Call::notification_create);
  const auto held = k.baseline();
  bool added = false;
  for (u32 step = 1; !added; ++step) {
    ASSERT_LT(step, 10u);
    k.machine().faults.fail_after(step);
    const CallResult r = add(bell, 1);
    k.machine().faults.fail_after(0);
    added = r.ok();
    if (added) break;
    EXPECT_TRUE(r.is(Status::no_memory));
    EXPECT_EQ(k.baseline(), held);
  }
  EXPECT_TRUE(k.call(a, Call::wait_set_remove, set, {1}).ok());
  EXPECT_EQ(k.baseline(), held);
  k.machine().faults.fail_after(1);
  EXPECT_TRUE(k.call(a, Call::wait_set_create, group).is(Status::no_memory));
  k.machine().faults.fail_after(0);
}

TEST_P(WaitSetTest, ManyMembersGoWithTheSet) {
  for (u64 i = 0; i < 40; ++i) {
    const CapIndex bell = create(Call::notification_create);
    ASSERT_TRUE(add(bell, i * 7 % 40).ok());
    if (i % 3 == 0) EXPECT_TRUE(signal(bell).ok());
    if (i % 5 == 0) EXPECT_TRUE(k.call(a, Call::cap_delete, bell).ok());
  }
  EXPECT_TRUE(k.call(a, Call::cap_delete, set).ok());
}

}  // namespace
}  // namespace keel::testing
