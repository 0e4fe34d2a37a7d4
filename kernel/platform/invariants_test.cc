#include "kernel/platform/invariants.h"

#include <gtest/gtest.h>

#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

class InvariantsTest : public ::testing::Test {
 protected:
  InvariantsTest() {
    platform().config.set(Knob::invariants_enabled, 0);
    k.make_current(a);
  }
  Platform& platform() { return k.machine().platform; }
  std::string broken(CapIndex named = kNoCapability) {
    const char* name = find_broken_invariant(k.cpu(), named.value);
    return name == nullptr ? "" : name;
  }
  TestKernel k;
  Thread& a = k.make_thread();
  Thread& b = k.make_thread();
  CapIndex group = k.give(a, k.root());
};

TEST_F(InvariantsTest, HoldInASoundKernel) {
  EXPECT_EQ(broken(group), "");
  EXPECT_EQ(broken(CapIndex(0xdead)), "");
}

TEST_F(InvariantsTest, EachIsNamedWhenItIsBroken) {
  const Phase phase = a.phase;
  a.phase.wait = WaitKind::log;
  EXPECT_TRUE(broken().starts_with("Thread I1"));
  a.phase = phase;
  a.callee = &b;
  EXPECT_TRUE(broken().starts_with("Thread I3"));
  a.callee = nullptr;
  a.caller = &b;
  EXPECT_TRUE(broken().starts_with("Thread I3"));
  a.caller = nullptr;
  a.context = &b.own_context;
  EXPECT_TRUE(broken().starts_with("Thread I4"));
  a.context = &a.own_context;
  a.run_on = nullptr;
  EXPECT_TRUE(broken().starts_with("Thread I5"));
  a.run_on = &k.cpu();
  CapNode& node = *MUST(a.process->caps.find(group))->node();
  node.kind = NodeKind::tombstone;
  EXPECT_TRUE(broken(group).starts_with("CapSpace I3"));
  EXPECT_EQ(broken(), "");  // it is looked at when it is named
  node.kind = NodeKind::slot;
  EXPECT_EQ(broken(group), "");
}

TEST_F(InvariantsTest, ABrokenQueueIsAPanicAtTheEndOfACall) {
  platform().config.set(Knob::invariants_enabled, 1);
  platform().config.set(Knob::invariants_sample_rate, 4);
  EXPECT_DEATH(
      {
        k.cpu().scheduler.spoil(b);
        for (u32 i = 0; i < 8; ++i) k.call(a, Call::random_get, kNoCapability, {1});
      },
      "broken invariant: Scheduler I2");
  platform().config.set(Knob::invariants_enabled, 0);
  EXPECT_TRUE(k.call(a, Call::random_get, kNoCapability, {1}).ok());
}

}  // namespace
}  // namespace keel::testing
