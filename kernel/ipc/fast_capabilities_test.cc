// Deriving, and sending capabilities, on the fast paths and around them: the same must happen.
#include <gtest/gtest.h>

#include "kernel/mm/heap_inline.h"
#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

class OneCapTest : public ::testing::TestWithParam<bool> {
 protected:
  OneCapTest() : before(k.baseline()) {
    k.fast = GetParam();
    thing = MUST(Notification::create(k.cpu(), k.root()));
    held = k.give(client, *thing);
    auto port = MUST(Port::create(k.cpu(), k.root(), 0));
    server_port = k.give(server, *port);
    client_port = k.copy(server, server_port, client, rights::port::call | rights::transfer | rights::derive, 42);
    EXPECT_TRUE(k.call(server, Call::receive, server_port).waits);
  }
  ~OneCapTest() override {
    thing.reset();
    k.check();
    k.tear_down();
    EXPECT_EQ(k.baseline(), before);
  }
  static constexpr bool kMove = true, kCopy = false;
  static constexpr Rights kAll = 0x3f;
  CallResult send(Thread& t, Call call, CapIndex port, CapIndex what, bool move, u32 words = 0) {
    k.page(t).capabilities[0] = what.value;
    return k.call(t, call, port, {1, 2, 3, 4, 5, 6, 7, 8}, Descriptor::make(words, 1, move ? 1 : 0));
  }
  bool live(Thread& t, CapIndex index) { return t.process->caps.find(index).has_value(); }
  CapIndex arrived(Thread& t) { return CapIndex(k.page(t).capabilities[0]); }

  TestKernel k;
  TestMachine::Baseline before;
  Thread& server = k.make_thread();
  Thread& client = k.make_thread();
  RefPtr<Notification> thing;
  CapIndex held, server_port, client_port;
};
INSTANTIATE_TEST_SUITE_P(Paths, OneCapTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "fast" : "slow"; });

TEST_P(OneCapTest, ACapabilityTravelsThereAndBack) {
  const u64 traced = k.cpu().trace.next();
  const u32 handles = thing->handles();
  EXPECT_TRUE(send(client, Call::call, client_port, held, kMove, 8).waits);
  auto got = k.result(server);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got.badge, 42u);
  EXPECT_EQ(got.descriptor.words(), 8u);
  EXPECT_EQ(got.descriptor.capabilities(), 1u);
  for (u32 i = 0; i < 8; ++i) EXPECT_EQ(got.word[i], i + 1);
  EXPECT_FALSE(live(client, held));
  EXPECT_EQ(&k.object<Notification>(server, arrived(server)), thing.get());
  EXPECT_EQ(thing->handles(), handles);
  // A copy of it comes back; the server keeps its own.
  const CapIndex kept = arrived(server);
  EXPECT_TRUE(send(server, Call::reply_receive, server_port, kept, kCopy, 3).waits);
  got = k.result(client);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got.badge, 0u);
  EXPECT_EQ(got.word[2], 3u);
  EXPECT_TRUE(live(server, kept));
  EXPECT_EQ(&k.object<Notification>(client, arrived(client)), thing.get());
  EXPECT_EQ(thing->handles(), handles + 1);
  if (GetParam()) EXPECT_EQ(k.cpu().trace.next(), traced);  // no call went the slow way
}

TEST_P(OneCapTest, SeveralTravelTogether) {
  const CapIndex copies[] = {k.copy(client, held, client, kAll), k.copy(client, held, client, kAll),
                             k.copy(client, held, client, kAll)};
  const u64 traced = k.cpu().trace.next();
  k.page(client).capabilities[0] = held.value;
  for (u32 i = 0; i < 3; ++i) k.page(client).capabilities[i + 1] = copies[i].value;
  EXPECT_TRUE(k.call(client, Call::call, client_port, {1, 2, 3}, Descriptor::make(3, 4, 0b1010)).waits);
  auto got = k.result(server);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got.badge, 42u);
  EXPECT_EQ(got.word[2], 3u);
  EXPECT_EQ(got.descriptor.capabilities(), 4u);
  for (u32 i = 0; i < 4; ++i) {
    EXPECT_EQ(&k.object<Notification>(server, CapIndex(k.page(server).capabilities[i])), thing.get());
  }
  EXPECT_TRUE(live(client, held) && live(client, copies[1]));
  EXPECT_FALSE(live(client, copies[0]) || live(client, copies[2]));
  // Two of them go back with the reply.
  EXPECT_TRUE(k.call(server, Call::reply_receive, server_port, {}, Descriptor::make(0, 2, 0b11)).waits);
  ASSERT_TRUE(k.result(client).ok());
  EXPECT_TRUE(live(client, CapIndex(k.page(client).capabilities[1])));
  EXPECT_TRUE(live(server, CapIndex(k.page(server).capabilities[2])));
  if (GetParam()) EXPECT_EQ(k.cpu().trace.next(), traced);  // no call went the slow way
}

TEST_P(OneCapTest, SeveralOrNone) {
  const CapIndex second = k.copy(client, held, client, kAll);
  const CapIndex stuck = k.copy(client, held, client, rights::derive | rights::inspect);
  const u32 used = server.process->caps.used();
  auto send_both = [&](CapIndex a, CapIndex b, u32 moves) {
    k.page(client).capabilities[0] = a.value;
    k.page(client).capabilities[1] = b.value;
    return k.call(client, Call::call, client_port, {}, Descriptor::make(0, 2, moves));
  };
  EXPECT_TRUE(send_both(held, stuck, 0b11).is(Status::missing_right));
  EXPECT_TRUE(send_both(held, CapIndex(77), 0b11).is(Status::bad_capability));
  EXPECT_TRUE(send_both(held, held, 0b11).is(Status::invalid_argument));
  EXPECT_TRUE(send_both(held, held, 0b01).is(Status::bad_capability));  // moved, then copied
  const CapIndex back = CapIndex(k.page(client).capabilities[0]);       // what was moved is here again, renamed
  EXPECT_FALSE(live(client, held));
  server.process->caps.set_limit(used + 1);
  EXPECT_TRUE(send_both(back, second, 0b10).is(Status::no_slot));
  EXPECT_TRUE(live(client, back) && live(client, second));
  EXPECT_EQ(server.process->caps.used(), used);
  EXPECT_TRUE(server.waits_for(WaitKind::receive));
  server.process->caps.set_limit(1000);
  EXPECT_TRUE(k.call(client, Call::call, client_port, {}, Descriptor::make(0, 5, 0)).is(Status::too_big));
  EXPECT_TRUE(send_both(back, second, 0b11).waits);
  EXPECT_TRUE(k.result(server).ok());
  EXPECT_EQ(server.process->caps.used(), used + 2);
}

TEST_P(OneCapTest, ASlotIsNotUsedAfterItsLastName) {
  CapSpace& caps = client.process->caps;
  CapSlot& slot = caps.slot(held);
  const u32 number = caps.number_of(held);
  slot.name.store(CapSlot::make_name(0x8000'0000, number), kRelaxed);
  EXPECT_TRUE(send(client, Call::call, client_port, slot.index(), kMove).waits);
  EXPECT_TRUE(k.result(server).ok());
  EXPECT_TRUE(send(server, Call::reply_receive, server_port, arrived(server), kMove).waits);
  EXPECT_TRUE(k.result(client).ok());
  EXPECT_NE(caps.number_of(arrived(client)), number);
  EXPECT_FALSE(slot.is_live(slot.name.load(kRelaxed)));
}

TEST_P(OneCapTest, WhatAServerSentIsRevokedWithItsOwn) {
  EXPECT_TRUE(send(client, Call::call, client_port, held, kMove).waits);
  const CapIndex kept = arrived(server);
  EXPECT_TRUE(send(server, Call::reply_receive, server_port, kept, kCopy).waits);
  const CapIndex copy = arrived(client);
  EXPECT_TRUE(k.call(client, Call::call, client_port).waits);
  EXPECT_TRUE(k.call(server, Call::cap_revoke, kept).ok());
  EXPECT_TRUE(live(server, kept));
  EXPECT_FALSE(live(client, copy));
}

TEST_P(OneCapTest, TheCapabilityOfTheCallItselfMayGo) {
  EXPECT_TRUE(send(client, Call::call, client_port, client_port, kMove).waits);
  auto got = k.result(server);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got.badge, 42u);
  EXPECT_FALSE(live(client, client_port));
  EXPECT_EQ(k.call(server, Call::cap_info, arrived(server)).word[1], 42u);  // its badge
  EXPECT_TRUE(send(server, Call::reply_receive, server_port, server_port, kMove).waits);
  EXPECT_TRUE(k.result(client).ok());
  EXPECT_TRUE(live(client, arrived(client)));
  EXPECT_FALSE(live(server, server_port));
}

TEST_P(OneCapTest, WhatCannotGoIsSaidAndNothingChanges) {
  CapIndex weak = k.copy(client, held, client, rights::derive | rights::inspect);
  CapIndex stuck = k.copy(client, held, client, rights::transfer | rights::inspect);
  EXPECT_TRUE(send(client, Call::call, client_port, weak, kMove).is(Status::missing_right));
  EXPECT_TRUE(send(client, Call::call, client_port, weak, kCopy).is(Status::missing_right));
  EXPECT_TRUE(send(client, Call::call, client_port, stuck, kCopy).is(Status::missing_right));
  EXPECT_TRUE(
      send(client, Call::call, client_port, CapIndex(held.value + (u64{7} << 32)), kMove).is(Status::bad_capability));
  EXPECT_TRUE(send(client, Call::call, client_port, kNoCapability, kCopy).is(Status::bad_capability));
  server.process->caps.set_limit(server.process->caps.used());
  EXPECT_TRUE(send(client, Call::call, client_port, held, kMove, 8).is(Status::no_slot));
  EXPECT_TRUE(send(client, Call::call, client_port, held, kCopy, 8).is(Status::no_slot));
  server.process->caps.set_limit(1000);
  EXPECT_TRUE(server.waits_for(WaitKind::receive));
  EXPECT_TRUE(live(client, held));
  EXPECT_TRUE(send(client, Call::call, client_port, stuck, kMove).waits);
  EXPECT_TRUE(k.result(server).ok());
}

TEST_P(OneCapTest, MemoryForACopyMayBeMissing) {
  for (u64 failing = 1; failing < 20; ++failing) {
    k.machine().faults.fail_after(failing);
    auto sent = send(client, Call::call, client_port, held, kCopy);
    k.machine().faults.fail_after(0);
    if (sent.waits) break;
    EXPECT_TRUE(sent.is(Status::no_memory)) << failing;
    EXPECT_TRUE(server.waits_for(WaitKind::receive));
  }
  EXPECT_TRUE(k.result(server).ok());
  EXPECT_TRUE(live(server, arrived(server)));
}

TEST_P(OneCapTest, MovingBetweenGroupsMovesTheCharge) {
  auto group = MUST(ResourceGroup::create(k.cpu(), k.root()));
  Thread& poor = k.make_thread(k.make_process(*group));
  CapIndex poor_port = k.copy(server, server_port, poor, rights::port::receive);
  client.process->caps.set_limit(1000);
  Thread& caller = k.make_thread(*client.process);
  EXPECT_TRUE(k.call(poor, Call::receive, poor_port).waits);
  EXPECT_TRUE(k.call(client, Call::call, client_port).waits);  // the server is busy with this one
  const u64 used = group->usage(Resource::kernel_bytes);
  group->set_limit(Resource::kernel_bytes, used);
  EXPECT_TRUE(send(caller, Call::call, client_port, held, kMove).is(Status::quota_exceeded));
  group->set_limit(Resource::kernel_bytes, ~u64{0});
  EXPECT_TRUE(send(caller, Call::call, client_port, held, kMove).waits);
  EXPECT_TRUE(k.result(poor).ok());
  EXPECT_EQ(group->usage(Resource::kernel_bytes), used + KernelHeap::charge_of<sizeof(CapNode)>());
}

TEST_P(OneCapTest, DeriveMakesAChildWithTheRightsAskedFor) {
  const u64 traced = k.cpu().trace.next();
  auto made = k.call(client, Call::cap_derive, held, {rights::derive | rights::notification::signal});
  ASSERT_TRUE(made.ok());
  for (u32 i = 1; i < kRegisterWords; ++i) EXPECT_EQ(made.word[i], 0u);
  if (GetParam()) EXPECT_EQ(k.cpu().trace.next(), traced);
  EXPECT_TRUE(k.call(client, Call::notification_signal, made.cap(), {1}).ok());
  EXPECT_TRUE(k.call(client, Call::notification_wait, made.cap(), {0}).is(Status::missing_right));
  EXPECT_TRUE(k.call(client, Call::cap_derive, made.cap(), {rights::notification::wait}).is(Status::missing_right));
  EXPECT_TRUE(k.call(client, Call::cap_derive, held, {u64{1} << 16}).is(Status::invalid_argument));
  auto narrow = k.call(client, Call::cap_derive, held, {rights::notification::signal, 2});  // a scope of its own
  ASSERT_TRUE(narrow.ok());
  EXPECT_TRUE(k.call(client, Call::notification_signal, narrow.cap(), {1}).is(Status::missing_right));
  EXPECT_TRUE(k.call(client, Call::cap_revoke, held).ok());
  EXPECT_FALSE(live(client, made.cap()));
  EXPECT_FALSE(live(client, narrow.cap()));
  EXPECT_TRUE(k.call(client, Call::cap_derive, made.cap(), {0}).is(Status::bad_capability));
  client.process->caps.set_limit(client.process->caps.used());
  EXPECT_TRUE(k.call(client, Call::cap_derive, held, {0}).is(Status::no_slot));
}

TEST_P(OneCapTest, TreesHaveAGreatestDepth) {
  CapIndex at = held;
  for (u32 i = 0; i < CapNode::kMaxDepth; ++i) at = k.call(client, Call::cap_derive, at, {0x3f}).cap();
  EXPECT_TRUE(k.call(client, Call::cap_derive, at, {0x3f}).is(Status::too_deep));
}

}  // namespace
}  // namespace keel::testing
