// The seven bindings, each through its call: what revoking, deleting and dying do to them is the same for all.
#include "kernel/cap/binding.h"

#include <gtest/gtest.h>

#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

enum class Way { timer, interrupt, watch, port, handler, group, context };

constexpr const char* name_of(Way way) {
  constexpr const char* kNames[] = {"timer", "interrupt", "watch", "port", "handler", "group", "context"};
  return kNames[u32(way)];
}

class BindingTest : public ::testing::TestWithParam<Way> {
 protected:
  BindingTest() : before(k.baseline()) {
    limited = MUST(ResourceGroup::create(k.cpu(), k.root()));
    binder = &k.make_thread(k.make_process(*limited));
    victim = &k.make_thread();
    owner = &k.make_thread();
    const bool handler = GetParam() == Way::handler;
    top = handler ? k.give(*owner, *MUST(Port::create(k.cpu(), k.root(), 0)))
                  : k.give(*owner, *MUST(Notification::create(k.cpu(), k.root())));
    shown = k.copy(*owner, top, *binder, 0xffff);
    switch (GetParam()) {
      case Way::timer:
        group = k.give(*binder, k.root());
        break;
      case Way::interrupt: {
        auto line = MUST(Interrupt::create_line(k.cpu(), k.root(), 5, Trigger::edge, Polarity::active_high));
        vector = line->vector();
        source = k.give(*binder, *line);
        break;
      }
      case Way::watch:
      case Way::handler:
        source = k.give(*binder, *victim->process);
        break;
      case Way::port:
        source = k.give(*binder, *MUST(Port::create(k.cpu(), k.root(), 0)));
        break;
      case Way::group:
        source = k.give(*binder, *MUST(ResourceGroup::create(k.cpu(), k.root())));
        break;
      case Way::context:
        source = k.give(*binder, *MUST(Reservation::create(k.cpu(), k.root())));
        break;
    }
  }
  ~BindingTest() override {
    k.check();
    limited = nullptr;
    k.tear_down();
    EXPECT_EQ(k.baseline(), before);
  }

  // Binds through `shown`.
  CallResult bind() {
    switch (GetParam()) {
      case Way::timer: {
        auto made = k.call(*binder, Call::timer_create, group, {shown.value, 1});
        if (made.ok()) source = made.cap();
        return made;
      }
      case Way::interrupt:
        return k.call(*binder, Call::interrupt_bind, source, {shown.value, 1});
      case Way::watch:
        return k.call(*binder, Call::process_watch, source, {shown.value, 1});
      case Way::port:
        return k.call(*binder, Call::port_bind, source, {shown.value});
      case Way::handler:
        return k.call(*binder, Call::process_set_handler, source, {shown.value});
      case Way::group:
        return k.call(*binder, Call::group_notify, source, {shown.value, 1, 10, 0});
      case Way::context:
        return k.call(*binder, Call::context_notify, source, {shown.value, 1});
    }
    __builtin_trap();
  }
  // Lets happen what the binding tells of; whether the owner of the target, or a receiver of the port, hears of it.
  bool heard() {
    switch (GetParam()) {
      case Way::timer:
        EXPECT_TRUE(k.call(*binder, Call::timer_set, source, {k.now() + 100, 0}).ok());
        k.advance(100);
        break;
      case Way::interrupt:
        k.interrupt(vector);
        break;
      case Way::watch:
        victim->process->kill(k.cpu(), 0);
        k.settle();
        break;
      case Way::group: {
        auto& watched = k.object<ResourceGroup>(*binder, source);
        MUST(watched.charge(Resource::frames, 11));
        k.settle();
        watched.uncharge(Resource::frames, 11);
        break;
      }
      case Way::context:
        k.object<Reservation>(*binder, source).budget().report_overrun(k.cpu());
        break;
      case Way::port: {
        // The port's receiver gets the bits, or nobody does and they stay.
        EXPECT_TRUE(k.call(*binder, Call::receive, source).waits);
        EXPECT_TRUE(k.call(*owner, Call::notification_signal, top, {4}).ok());
        auto r = k.result(*binder);
        const bool got = !r.waits && r.kind() == MessageKind::signal && r.word[0] == 4;
        if (r.waits) binder->cancel(k.cpu());
        return got;
      }
      case Way::handler: {
        EXPECT_TRUE(k.call(*owner, Call::receive, top).waits);
        k.make_current(*victim);
        victim->state.resume = arch::ResumeKind::interrupted;
        enter_exception(k.cpu(), FaultKind::breakpoint, 0);
        auto r = k.result(*owner);
        if (r.waits) owner->cancel(k.cpu());
        return !r.waits && r.kind() == MessageKind::fault;
      }
    }
    return k.call(*owner, Call::notification_wait, top, {0}).ok();
  }
  u64 charged() { return limited->usage(Resource::kernel_bytes); }

  TestKernel k;
  TestMachine::Baseline before;
  RefPtr<ResourceGroup> limited;
  Thread* binder = nullptr;
  Thread* victim = nullptr;
  Thread* owner = nullptr;
  CapIndex top;     // of the target, the owner's
  CapIndex shown;   // its child, the binder's
  CapIndex source;  // what tells of itself
  CapIndex group;
  u32 vector = 0;
};

TEST_P(BindingTest, IsHeardOf) {
  ASSERT_TRUE(bind().ok());
  EXPECT_TRUE(heard());
}

TEST_P(BindingTest, RevokingUnbinds) {
  ASSERT_TRUE(bind().ok());
  EXPECT_TRUE(k.call(*owner, Call::cap_revoke, top).ok());
  EXPECT_FALSE(binder->process->caps.find(shown).has_value());
  EXPECT_FALSE(heard());
}

TEST_P(BindingTest, RevokingWhatTheCapabilityShownIsTheParentOfUnbindsToo) {
  ASSERT_TRUE(bind().ok());
  EXPECT_TRUE(k.call(*binder, Call::cap_revoke, shown).ok());
  EXPECT_TRUE(binder->process->caps.find(shown).has_value());
  EXPECT_FALSE(heard());
}

TEST_P(BindingTest, DeletingTheCapabilityShownDoesNotUnbind) {
  ASSERT_TRUE(bind().ok());
  EXPECT_TRUE(k.call(*binder, Call::cap_delete, shown).ok());
  EXPECT_TRUE(heard());
}

TEST_P(BindingTest, WhatADeletedCapabilityBoundIsRevokedFromAbove) {
  ASSERT_TRUE(bind().ok());
  EXPECT_TRUE(k.call(*binder, Call::cap_delete, shown).ok());
  EXPECT_TRUE(k.call(*owner, Call::cap_revoke, top).ok());
  EXPECT_FALSE(heard());
}

TEST_P(BindingTest, ARevokedOneIsReplaced) {
  ASSERT_TRUE(bind().ok());
  EXPECT_TRUE(k.call(*owner, Call::cap_revoke, top).ok());
  shown = k.copy(*owner, top, *binder, 0xffff);
  ASSERT_TRUE(bind().ok());
  EXPECT_TRUE(heard());
}

TEST_P(BindingTest, TheNodeIsChargedToWhoBinds) {
  const u64 bytes = charged();
  k.copy(*binder, shown, *binder, 0xffff);
  const u64 node = charged() - bytes;                 // what a derivation costs
  const u64 made = GetParam() == Way::timer ? 2 : 1;  // the new timer has a capability
  ASSERT_TRUE(bind().ok());
  EXPECT_EQ(charged(), bytes + node + made * node);
  if (GetParam() == Way::timer) return;
  ASSERT_TRUE(bind().ok());  // takes the place of the first
  EXPECT_EQ(charged(), bytes + node + node);
}

TEST_P(BindingTest, AGroupWithoutRoomBindsNothing) {
  limited->set_limit(Resource::kernel_bytes, charged());
  EXPECT_TRUE(bind().is(Status::quota_exceeded));
  limited->set_limit(Resource::kernel_bytes, ResourceGroup::kNoLimit);
  ASSERT_TRUE(bind().ok());
  limited->set_limit(Resource::kernel_bytes, charged());
  EXPECT_TRUE(bind().is(Status::quota_exceeded));
  EXPECT_TRUE(heard());  // the earlier one stays
}

TEST_P(BindingTest, AFullSpaceDoesNotKeepOneFromBinding) {
  binder->process->caps.set_limit(binder->process->caps.used());
  const auto held = k.baseline();
  const auto r = bind();
  if (GetParam() == Way::timer) {
    EXPECT_TRUE(r.is(Status::no_slot));  // for the new timer; all is given back
    EXPECT_EQ(k.baseline(), held);
  } else {
    EXPECT_TRUE(r.ok());
  }
}

TEST_P(BindingTest, RunningOutOfMemoryChangesNothing) {
  for (u64 n = 1;; ++n) {
    const auto held = k.baseline();
    k.machine().faults.fail_after(n);
    const auto r = bind();
    const bool failed = !k.machine().faults.armed();
    k.machine().faults.fail_after(0);
    if (!failed) {
      EXPECT_TRUE(r.ok());
      EXPECT_GE(n, 2u);
      break;
    }
    ASSERT_TRUE(r.is(Status::no_memory));
    EXPECT_EQ(k.baseline(), held);
  }
  EXPECT_TRUE(heard());
}

TEST_P(BindingTest, DepthCounts) {
  CapIndex deep = shown;
  for (u32 i = 1; i < CapNode::kMaxDepth; ++i) deep = k.copy(*binder, deep, *binder, 0xffff);
  shown = deep;
  EXPECT_TRUE(bind().is(Status::too_deep));
}

TEST_P(BindingTest, GoesWithItsBinder) {
  ASSERT_TRUE(bind().ok());
  binder->process->kill(k.cpu(), 0);
  k.settle();  // the test's end compares memory
}

INSTANTIATE_TEST_SUITE_P(All, BindingTest,
                         ::testing::Values(Way::timer, Way::interrupt, Way::watch, Way::port, Way::handler, Way::group,
                                           Way::context),
                         [](const auto& p) { return name_of(p.param); });

TEST(BindingOfTheDead, ADeadProcessGetsNoHandler) {
  TestKernel k;
  Thread& a = k.make_thread();
  Thread& victim = k.make_thread();
  CapIndex process = k.give(a, *victim.process);
  CapIndex port = k.call(a, Call::port_create, k.give(a, k.root())).cap();
  victim.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_TRUE(k.call(a, Call::process_set_handler, process, {port.value}).is(Status::bad_state));
}

class BoundPortTest : public ::testing::Test {
 protected:
  TestKernel k;
  Thread& a = k.make_thread();
  CapIndex group = k.give(a, k.root());
  CapIndex port = k.call(a, Call::port_create, group).cap();
  CapIndex other = k.call(a, Call::port_create, group).cap();
  CapIndex top = k.call(a, Call::notification_create, group).cap();
  CapIndex shown = k.copy(a, top, a, 0xffff);
};

TEST_F(BoundPortTest, BitsThatWaitInThePortStayInTheNotification) {
  ASSERT_TRUE(k.call(a, Call::port_bind, port, {shown.value}).ok());
  EXPECT_TRUE(k.call(a, Call::notification_signal, top, {8}).ok());
  EXPECT_TRUE(k.call(a, Call::cap_revoke, top).ok());
  k.page(a).deadline = 0;
  EXPECT_TRUE(k.call(a, Call::receive, port, {}, Descriptor::kDeadline).is(Status::timed_out));
  EXPECT_EQ(k.object<Port>(a, port).backlog_, 0u);
  EXPECT_EQ(k.call(a, Call::notification_wait, top, {0}).word[0], 8u);
}

TEST_F(BoundPortTest, ARevokedBindingLeavesTheNotificationFree) {
  ASSERT_TRUE(k.call(a, Call::port_bind, port, {shown.value}).ok());
  EXPECT_TRUE(k.call(a, Call::port_bind, other, {top.value}).is(Status::busy));
  EXPECT_TRUE(k.call(a, Call::cap_revoke, top).ok());
  EXPECT_TRUE(k.call(a, Call::port_bind, other, {top.value}).ok());
  EXPECT_TRUE(k.call(a, Call::receive, other).waits);
  Thread& b = k.make_thread(*a.process);
  EXPECT_TRUE(k.call(b, Call::notification_signal, top, {2}).ok());
  EXPECT_EQ(k.result(a).word[0], 2u);
}

}  // namespace
}  // namespace keel::testing
