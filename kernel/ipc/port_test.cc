#include "kernel/ipc/port.h"

#include <gtest/gtest.h>

#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

// Each test runs twice: with the fast paths, and without.
class PortTest : public ::testing::TestWithParam<bool> {
 protected:
  PortTest() : before(k.baseline()) { k.fast = GetParam(); }
  ~PortTest() override {
    k.check();
    k.tear_down();
    EXPECT_EQ(k.baseline(), before);
  }

  // A port whose receive right the server has, and the client the call right with a badge.
  void connect(u32 queue = 4) {
    auto port = MUST(Port::create(k.cpu(), k.root(), queue));
    server_port = k.give(server, *port);
    client_port = k.copy(server, server_port, client, rights::port::call | rights::port::send, 42);
  }
  CallResult receive(Thread& t, CapIndex port) { return k.call(t, Call::receive, port); }

  TestKernel k;
  TestMachine::Baseline before;
  Thread& server = k.make_thread();
  Thread& client = k.make_thread();
  CapIndex server_port;
  CapIndex client_port;
};
INSTANTIATE_TEST_SUITE_P(Paths, PortTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "fast" : "slow"; });

TEST_P(PortTest, CallToWaitingServerDeliversWordsAndBadge) {
  connect();
  EXPECT_TRUE(receive(server, server_port).waits);
  EXPECT_TRUE(k.call(client, Call::call, client_port, {1, 2, 3, 4, 5, 6, 7, 8}, Descriptor::make(8)).waits);
  auto got = k.result(server);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got.badge, 42u);
  EXPECT_EQ(got.kind(), MessageKind::call);
  EXPECT_EQ(got.descriptor.words(), 8u);
  for (u32 i = 0; i < 8; ++i) EXPECT_EQ(got.word[i], i + 1);
  EXPECT_EQ(k.cpu().current, &server);  // handed over
  EXPECT_TRUE(k.call(server, Call::reply_receive, server_port, {9}, Descriptor::make(1)).waits);
  auto reply = k.result(client);
  ASSERT_TRUE(reply.ok());
  EXPECT_EQ(reply.word[0], 9u);
  EXPECT_EQ(reply.badge, 0u);
  EXPECT_EQ(reply.descriptor.words(), 1u);
}

TEST_P(PortTest, CallersWaitInOrderForABusyServer) {
  connect();
  Thread& second = k.make_thread(*client.process);
  EXPECT_TRUE(k.call(client, Call::call, client_port, {1}, Descriptor::make(1)).waits);
  EXPECT_TRUE(k.call(second, Call::call, client_port, {2}, Descriptor::make(1)).waits);
  auto first = receive(server, server_port);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first.word[0], 1u);
  auto next = k.call(server, Call::reply_receive, server_port, {11}, Descriptor::make(1));
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(next.word[0], 2u);
  EXPECT_EQ(k.result(client).word[0], 11u);
  EXPECT_TRUE(k.call(server, Call::reply_receive, server_port, {12}, Descriptor::make(1)).waits);
  EXPECT_EQ(k.result(second).word[0], 12u);
}

TEST_P(PortTest, AllSizesArriveWhole) {
  connect();
  EXPECT_TRUE(receive(server, server_port).waits);
  for (u32 words = 0; words <= kMaxMessageWords; words += words < 10 ? 1 : 47) {
    for (u32 i = 8; i < kMaxMessageWords; ++i) k.page(client).words[i] = i * 3;
    for (u32 i = 8; i < kMaxMessageWords; ++i) k.page(server).words[i] = 7;
    ASSERT_TRUE(k.call(client, Call::call, client_port, {0, 3, 6, 9, 12, 15, 18, 21}, Descriptor::make(words)).waits);
    auto got = k.result(server);
    ASSERT_TRUE(got.ok());
    EXPECT_EQ(got.descriptor.words(), words);
    for (u32 i = 0; i < 8; ++i) {
      if (i < words) EXPECT_EQ(got.word[i], i * 3);
    }
    for (u32 i = 8; i < kMaxMessageWords; ++i) ASSERT_EQ(k.page(server).words[i], i < words ? i * 3 : 7) << i;
    ASSERT_TRUE(k.call(server, Call::reply_receive, server_port, {1}, Descriptor::make(words)).waits);
    EXPECT_EQ(k.result(client).descriptor.words(), words);
  }
  EXPECT_TRUE(k.call(client, Call::call, client_port, {}, Descriptor::make(481)).is(Status::too_big));
  EXPECT_TRUE(k.call(client, Call::call, client_port, {}, Descriptor::make(0, 5)).is(Status::too_big));
  EXPECT_TRUE(k.call(client, Call::call, client_port, {}, u64{1} << 40).is(Status::invalid_argument));
}

TEST_P(PortTest, CapabilitiesAreCopiedAndMoved) {
  connect();
  CapIndex held[4];
  for (auto& index : held) index = k.give(client, *MUST(Notification::create(k.cpu(), k.root())));
  EXPECT_TRUE(receive(server, server_port).waits);
  for (u32 i = 0; i < 4; ++i) k.page(client).capabilities[i] = held[i].value;
  EXPECT_TRUE(k.call(client, Call::call, client_port, {}, Descriptor::make(0, 4, 0b0101)).waits);
  auto got = k.result(server);
  ASSERT_EQ(got.descriptor.capabilities(), 4u);
  for (u32 i = 0; i < 4; ++i) {
    CapIndex arrived(k.page(server).capabilities[i]);
    EXPECT_TRUE(k.call(server, Call::notification_signal, arrived, {1}).ok());
    EXPECT_EQ(k.call(server, Call::cap_info, arrived).word[3], i % 2);  // depth: a copy is a child
    EXPECT_EQ(client.process->caps.find(held[i]).has_value(), i % 2 == 1);
  }
}

TEST_P(PortTest, CapabilitiesArriveAllOrNothing) {
  connect();
  CapIndex held[4];
  for (auto& index : held) index = k.give(client, *MUST(Notification::create(k.cpu(), k.root())));
  const u32 base = server.process->caps.used();
  for (u32 room = 0; room < 4; ++room) {
    for (u64 moves : {0b0000u, 0b1111u, 0b0110u}) {
      SCOPED_TRACE(room * 100 + moves);
      server.process->caps.set_limit(base + room);
      // To a server that waits: the client is refused, the server goes on waiting.
      ASSERT_TRUE(receive(server, server_port).waits);
      for (u32 i = 0; i < 4; ++i) k.page(client).capabilities[i] = held[i].value;
      EXPECT_TRUE(k.call(client, Call::call, client_port, {}, Descriptor::make(0, 4, moves)).is(Status::no_slot));
      EXPECT_TRUE(server.waits_for(WaitKind::receive));
      EXPECT_EQ(server.process->caps.used(), base);
      for (u32 i = 0; i < 4; ++i) {
        held[i] = CapIndex(k.page(client).capabilities[i]);  // what was moved back has a new index
        EXPECT_TRUE(client.process->caps.find(held[i]).has_value());
      }
      server.cancel(k.cpu());
      EXPECT_TRUE(k.result(server).is(Status::cancelled));
      // From the queue.
      EXPECT_TRUE(k.call(client, Call::call, client_port, {}, Descriptor::make(0, 4, moves)).waits);
      EXPECT_TRUE(receive(server, server_port).waits);
      EXPECT_TRUE(k.result(client).is(Status::no_slot));
      EXPECT_EQ(server.process->caps.used(), base);
      for (u32 i = 0; i < 4; ++i) held[i] = CapIndex(k.page(client).capabilities[i]);
      server.cancel(k.cpu());
    }
  }
}

TEST_P(PortTest, CapabilitiesWithoutTheRightsDoNotTravel) {
  connect();
  CapIndex held = k.give(client, *MUST(Notification::create(k.cpu(), k.root())));
  EXPECT_TRUE(receive(server, server_port).waits);
  const auto derived = [&](Rights lacking) {
    return k.call(client, Call::cap_derive, held, {u64(all_rights(ObjectKind::notification) & ~lacking)}).cap();
  };
  k.page(client).capabilities[0] = derived(rights::transfer).value;
  EXPECT_TRUE(k.call(client, Call::call, client_port, {}, Descriptor::make(0, 1, 1)).is(Status::missing_right));
  k.page(client).capabilities[0] = derived(rights::derive).value;
  EXPECT_TRUE(k.call(client, Call::call, client_port, {}, Descriptor::make(0, 1, 0)).is(Status::missing_right));
  k.page(client).capabilities[0] = 12345 << 5;
  EXPECT_TRUE(k.call(client, Call::call, client_port, {}, Descriptor::make(0, 1, 0)).is(Status::bad_capability));
  k.page(client).capabilities[0] = k.page(client).capabilities[1] = held.value;
  EXPECT_TRUE(k.call(client, Call::call, client_port, {}, Descriptor::make(0, 2, 3)).is(Status::invalid_argument));
  EXPECT_TRUE(k.call(client, Call::call, client_port, {}, Descriptor::make(0, 2, 2)).is(Status::invalid_argument));
  EXPECT_TRUE(client.process->caps.find(held).has_value());
}

TEST_P(PortTest, ServerRunsOnTheClientsContextAndGivesItBack) {
  connect();
  client.set_level(k.cpu(), 30);
  EXPECT_TRUE(receive(server, server_port).waits);
  EXPECT_TRUE(k.call(client, Call::call, client_port).waits);
  EXPECT_EQ(server.context, &client.own_context);
  EXPECT_EQ(k.cpu().context, &client.own_context);
  k.check();
  k.call(server, Call::reply_receive, server_port);
  EXPECT_EQ(server.context, &server.own_context);
}

// client -> server -> third
class NestedTest : public PortTest {
 protected:
  void nest() {
    connect();
    auto port = MUST(Port::create(k.cpu(), k.root(), 0));
    third_port = k.give(third, *port);
    second_port = k.copy(third, third_port, server, rights::port::call);
    client.set_level(k.cpu(), 33);
    EXPECT_TRUE(receive(third, third_port).waits);
    EXPECT_TRUE(receive(server, server_port).waits);
    k.page(client).deadline = k.now() + 1'000'000;
    EXPECT_TRUE(k.call(client, Call::call, client_port, {}, Descriptor::kDeadline).waits);
    EXPECT_TRUE(k.call(server, Call::call, second_port).waits);
    EXPECT_EQ(third.context, &client.own_context);
    EXPECT_EQ(k.cpu().current, &third);
    k.check();
  }
  Thread& third = k.make_thread();
  CapIndex third_port;
  CapIndex second_port;
};
INSTANTIATE_TEST_SUITE_P(Paths, NestedTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "fast" : "slow"; });

TEST_P(NestedTest, RepliesUnwindDonation) {
  nest();
  EXPECT_TRUE(k.call(third, Call::reply_receive, third_port, {5}, Descriptor::make(1)).waits);
  EXPECT_EQ(third.context, &third.own_context);
  EXPECT_EQ(k.result(server).word[0], 5u);
  EXPECT_EQ(server.context, &client.own_context);
  EXPECT_TRUE(k.call(server, Call::reply_receive, server_port, {6}, Descriptor::make(1)).waits);
  EXPECT_EQ(server.context, &server.own_context);
  EXPECT_EQ(k.result(client).word[0], 6u);
}
TEST_P(NestedTest, ClientsDeathLeavesServersOnTheirOwn) {
  nest();
  client.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_EQ(third.context, &server.own_context);
  EXPECT_EQ(server.context, &server.own_context);
  EXPECT_EQ(server.caller, nullptr);
  k.check();
  EXPECT_TRUE(k.call(third, Call::reply_receive, third_port).waits);
  EXPECT_TRUE(k.result(server).ok());
  EXPECT_TRUE(k.call(server, Call::reply_receive, server_port).waits);  // to nobody
}
TEST_P(NestedTest, ClientsDeadlineLeavesServersOnTheirOwn) {
  nest();
  k.advance(2'000'000);
  EXPECT_TRUE(k.result(client).is(Status::timed_out));
  EXPECT_EQ(third.context, &server.own_context);
  k.check();
  EXPECT_TRUE(k.call(third, Call::reply_receive, third_port).waits);
  EXPECT_TRUE(k.result(server).ok());
}
TEST_P(NestedTest, CancelledClientLeavesServersOnTheirOwn) {
  nest();
  client.cancel(k.cpu());
  EXPECT_TRUE(k.result(client).is(Status::cancelled));
  EXPECT_EQ(third.context, &server.own_context);
  k.check();
}
TEST_P(NestedTest, CancelledMiddleServerKeepsItsClientsContext) {
  nest();
  server.cancel(k.cpu());
  EXPECT_TRUE(k.result(server).is(Status::cancelled));
  EXPECT_EQ(server.context, &client.own_context);
  EXPECT_EQ(third.context, &third.own_context);
  k.check();
}
TEST_P(NestedTest, MiddleServersDeathAnswersTheClient) {
  nest();
  server.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_TRUE(k.result(client).is(Status::peer_died));
  EXPECT_EQ(third.context, &third.own_context);
  k.check();
  EXPECT_TRUE(k.call(third, Call::reply_receive, third_port).waits);
}
TEST_P(NestedTest, LastServersDeathAnswersTheMiddle) {
  nest();
  third.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_TRUE(k.result(server).is(Status::peer_died));
  EXPECT_EQ(server.context, &client.own_context);
  k.check();
}
TEST_P(NestedTest, ReplyTakeEndsDonation) {
  nest();
  CapIndex reply = k.give(third, *MUST(Reply::create(k.cpu(), k.root())));
  EXPECT_TRUE(k.call(third, Call::reply_take, reply).ok());
  EXPECT_EQ(third.context, &third.own_context);
  EXPECT_EQ(server.context, &client.own_context);
  EXPECT_TRUE(k.call(third, Call::reply_take, reply).is(Status::busy));
  EXPECT_TRUE(receive(third, third_port).waits);
  EXPECT_TRUE(server.waits_for(WaitKind::reply));
  k.check();
  Thread& helper = k.make_thread(*third.process);
  EXPECT_TRUE(k.call(helper, Call::reply_send, reply, {8}, Descriptor::make(1)).ok());
  EXPECT_EQ(k.result(server).word[0], 8u);
  EXPECT_TRUE(k.call(helper, Call::reply_send, reply, {8}, Descriptor::make(1)).is(Status::bad_state));
}

TEST_P(PortTest, ReplyToACallerThatGaveUpIsCancelled) {
  connect();
  CapIndex reply = k.give(server, *MUST(Reply::create(k.cpu(), k.root())));
  EXPECT_TRUE(k.call(server, Call::reply_take, reply).is(Status::bad_state));
  EXPECT_TRUE(k.call(client, Call::call, client_port).waits);
  EXPECT_TRUE(receive(server, server_port).ok());
  EXPECT_TRUE(k.call(server, Call::reply_take, reply).ok());
  client.cancel(k.cpu());
  EXPECT_TRUE(k.result(client).is(Status::cancelled));
  EXPECT_TRUE(k.call(server, Call::reply_send, reply).is(Status::cancelled));
  EXPECT_TRUE(k.call(server, Call::reply_send, reply).is(Status::bad_state));
  // The last capability answers whoever is in there.
  EXPECT_TRUE(k.call(client, Call::call, client_port).waits);
  EXPECT_TRUE(receive(server, server_port).ok());
  EXPECT_TRUE(k.call(server, Call::reply_take, reply).ok());
  EXPECT_TRUE(k.call(server, Call::cap_delete, reply).ok());
  EXPECT_TRUE(k.result(client).is(Status::peer_died));
}

TEST_P(PortTest, ReplyWithoutRoomForItsCapabilitiesLeavesTheCallerWaiting) {
  connect();
  EXPECT_TRUE(k.call(client, Call::call, client_port).waits);
  EXPECT_TRUE(receive(server, server_port).ok());
  client.process->caps.set_limit(1);
  k.page(server).capabilities[0] = k.give(server, *MUST(Notification::create(k.cpu(), k.root()))).value;
  EXPECT_TRUE(k.call(server, Call::reply_receive, server_port, {}, Descriptor::make(0, 1)).is(Status::no_slot));
  EXPECT_TRUE(client.waits_for(WaitKind::reply));
  EXPECT_TRUE(k.call(server, Call::reply_receive, server_port, {3}, Descriptor::make(1)).waits);
  EXPECT_EQ(k.result(client).word[0], 3u);
}

TEST_P(PortTest, ReceiveWithoutReplyAnswersPeerDied) {
  connect();
  EXPECT_TRUE(k.call(client, Call::call, client_port).waits);
  EXPECT_TRUE(receive(server, server_port).ok());
  EXPECT_TRUE(receive(server, server_port).waits);
  EXPECT_TRUE(k.result(client).is(Status::peer_died));
}

TEST_P(PortTest, DeadlinesEndEachWait) {
  connect();
  k.page(client).deadline = k.now() + 500;
  EXPECT_TRUE(k.call(client, Call::call, client_port, {}, Descriptor::kDeadline).waits);
  k.advance(499);
  EXPECT_TRUE(k.result(client).waits);
  k.advance(1);
  EXPECT_TRUE(k.result(client).is(Status::timed_out));
  k.page(server).deadline = k.now() + 500;
  EXPECT_TRUE(k.call(server, Call::receive, server_port, {}, Descriptor::kDeadline).waits);
  k.advance(500);
  EXPECT_TRUE(k.result(server).is(Status::timed_out));
  k.page(server).deadline = k.page(client).deadline = 0;
  EXPECT_TRUE(k.call(server, Call::receive, server_port, {}, Descriptor::kDeadline).is(Status::timed_out));
  EXPECT_TRUE(k.call(client, Call::call, client_port, {}, Descriptor::kDeadline).is(Status::timed_out));
  EXPECT_EQ(k.cpu().timers.earliest(), kForever);
}

TEST_P(PortTest, LastReceiveRightAnswersQueuedCallersPeerDied) {
  connect();
  Thread& second = k.make_thread(*client.process);
  EXPECT_TRUE(k.call(client, Call::call, client_port).waits);
  EXPECT_TRUE(k.call(second, Call::call, client_port).waits);
  EXPECT_TRUE(k.call(server, Call::cap_delete, server_port).ok());
  EXPECT_TRUE(k.result(client).is(Status::peer_died));
  EXPECT_TRUE(k.result(second).is(Status::peer_died));
  EXPECT_TRUE(k.call(client, Call::call, client_port).is(Status::peer_died));
}

TEST_P(PortTest, QueuedCallersWaitForTheSuccessorOfADeadServer) {
  connect();
  Thread& keeper = k.make_thread();
  CapIndex kept = k.copy(server, server_port, keeper, all_rights(ObjectKind::port));
  EXPECT_TRUE(k.call(client, Call::call, client_port, {4}, Descriptor::make(1)).waits);
  server.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_TRUE(client.waits_for(WaitKind::send));
  auto got = receive(keeper, kept);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got.badge, 42u);
  EXPECT_EQ(got.word[0], 4u);
}

TEST_P(PortTest, DeletedCapabilityEndsTheWaitThroughItsLastHandle) {
  auto port = MUST(Port::create(k.cpu(), k.root(), 0));
  CapIndex own = k.give(server, *port);
  port = nullptr;
  Thread& other = k.make_thread(*server.process);
  EXPECT_TRUE(receive(server, own).waits);
  EXPECT_TRUE(k.call(other, Call::cap_delete, own).ok());
  EXPECT_TRUE(k.result(server).is(Status::revoked));
  k.settle();
}

TEST_P(PortTest, RevokedWaitersAreToldSo) {
  connect();
  Thread& receiver = k.make_thread();
  CapIndex derived = k.copy(server, server_port, receiver, rights::port::receive);
  EXPECT_TRUE(receive(receiver, derived).waits);
  EXPECT_TRUE(k.call(server, Call::cap_revoke, server_port).ok());
  EXPECT_TRUE(k.result(receiver).is(Status::revoked));
  client_port = k.copy(server, server_port, client, rights::port::call);
  EXPECT_TRUE(k.call(client, Call::call, client_port).waits);
  EXPECT_TRUE(k.call(server, Call::cap_revoke, server_port).ok());
  EXPECT_TRUE(k.result(client).is(Status::revoked));
}

TEST_P(PortTest, SentMessagesQueueInOrderUntilFull) {
  connect(3);
  for (u64 i = 0; i < 3; ++i) EXPECT_TRUE(k.call(client, Call::send, client_port, {i}, Descriptor::make(1)).ok());
  EXPECT_TRUE(k.call(client, Call::send, client_port, {3}, Descriptor::make(1)).is(Status::would_block));
  EXPECT_TRUE(k.call(client, Call::send, client_port, {3}, Descriptor::make(9)).is(Status::too_big));
  EXPECT_TRUE(k.call(client, Call::send, client_port, {3}, Descriptor::make(1, 1)).is(Status::invalid_argument));
  for (u64 round = 0; round < 5; ++round) {
    auto got = receive(server, server_port);
    EXPECT_EQ(got.kind(), MessageKind::send);
    EXPECT_EQ(got.word[0], round);
    EXPECT_EQ(got.badge, 42u);
    EXPECT_TRUE(k.call(client, Call::send, client_port, {round + 3}, Descriptor::make(1)).ok());
  }
}

TEST_P(PortTest, NothingIsSentToAPortWithoutReceivers) {
  connect(3);
  EXPECT_TRUE(k.call(client, Call::send, client_port, {1}, Descriptor::make(1)).ok());
  EXPECT_TRUE(k.call(server, Call::cap_delete, server_port).ok());
  EXPECT_TRUE(k.call(client, Call::send, client_port, {1}, Descriptor::make(1)).is(Status::peer_died));
  EXPECT_TRUE(k.call(client, Call::send_batch, client_port, {1, 1}).is(Status::peer_died));
}

TEST_P(PortTest, ABatchIsSentAsFarAsThereIsRoomAndReceivedAtOnce) {
  connect(6);
  for (u32 i = 0; i < 480; ++i) k.page(client).words[i] = i;
  auto sent = k.call(client, Call::send_batch, client_port, {4, 3});
  ASSERT_TRUE(sent.ok());
  EXPECT_EQ(sent.word[0], 4u);
  sent = k.call(client, Call::send_batch, client_port, {60, 8});
  EXPECT_EQ(sent.word[0], 2u);
  EXPECT_TRUE(k.call(client, Call::send_batch, client_port, {1, 1}).is(Status::would_block));
  EXPECT_EQ(k.call(client, Call::send_batch, client_port, {0, 8}).word[0], 0u);
  EXPECT_TRUE(k.call(client, Call::send_batch, client_port, {61, 1}).is(Status::invalid_argument));
  EXPECT_TRUE(k.call(client, Call::send_batch, client_port, {1, 9}).is(Status::invalid_argument));
  EXPECT_EQ(receive(server, server_port).word[1], 1u);
  const auto received = k.call(server, Call::receive_batch, server_port);
  ASSERT_TRUE(received.ok());
  EXPECT_EQ(received.word[0], 5u);
  const u64* at = k.page(server).words;
  for (u64 message : {1, 2, 3, 0, 1}) {
    const u64 words = at < &k.page(server).words[27] ? 3 : 8;
    EXPECT_EQ(*at++, 42u);
    for (u64 i = 0; i < 8; ++i) EXPECT_EQ(*at++, i < words ? message * 8 + i : 0);
  }
  EXPECT_TRUE(k.call(server, Call::receive_batch, server_port).is(Status::would_block));
}

TEST_P(PortTest, ABatchGoesToThoseWhoWaitAndLeavesCallersAlone) {
  connect(4);
  Thread& second = k.make_thread(*server.process);
  EXPECT_TRUE(receive(server, server_port).waits);
  EXPECT_TRUE(receive(second, server_port).waits);
  for (u32 i = 0; i < 24; ++i) k.page(client).words[i] = i;
  EXPECT_EQ(k.call(client, Call::send_batch, client_port, {3, 8}).word[0], 3u);
  EXPECT_EQ(k.result(server).word[7], 7u);
  EXPECT_EQ(k.result(second).word[0], 8u);
  EXPECT_TRUE(k.call(client, Call::call, client_port, {99}, Descriptor::make(1)).waits);
  EXPECT_EQ(k.call(server, Call::receive_batch, server_port).word[0], 1u);
  EXPECT_TRUE(k.call(server, Call::receive_batch, server_port).is(Status::would_block));
  EXPECT_EQ(receive(server, server_port).word[0], 99u);
  EXPECT_TRUE(k.call(server, Call::receive_batch, server_port).is(Status::would_block));
  EXPECT_TRUE(k.call(server, Call::reply_receive, server_port).waits);
  EXPECT_TRUE(k.result(client).ok());
}

TEST_P(PortTest, BoundNotificationIsReceived) {
  connect();
  CapIndex bits = k.give(server, *MUST(Notification::create(k.cpu(), k.root())));
  EXPECT_TRUE(k.call(server, Call::port_bind, server_port, {bits.value}).ok());
  EXPECT_TRUE(receive(server, server_port).waits);
  EXPECT_TRUE(k.call(k.make_thread(*server.process), Call::notification_signal, bits, {6}).ok());
  auto got = k.result(server);
  EXPECT_EQ(got.kind(), MessageKind::signal);
  EXPECT_EQ(got.word[0], 6u);
  EXPECT_TRUE(k.call(server, Call::notification_signal, bits, {1}).ok());
  EXPECT_TRUE(k.call(server, Call::notification_signal, bits, {2}).ok());
  EXPECT_EQ(receive(server, server_port).word[0], 3u);
  CapIndex other = k.give(server, *MUST(Port::create(k.cpu(), k.root(), 0)));
  EXPECT_TRUE(k.call(server, Call::port_bind, other, {bits.value}).is(Status::busy));
  EXPECT_TRUE(k.call(server, Call::port_bind, server_port, {0}).ok());
  EXPECT_TRUE(k.call(server, Call::port_bind, other, {bits.value}).ok());
  // A queued signal goes before a queued caller.
  EXPECT_TRUE(k.call(server, Call::notification_signal, bits, {8}).ok());
  EXPECT_EQ(receive(server, other).word[0], 8u);
}

TEST_P(PortTest, ACallToAReceiverThatDiesIsAnsweredPeerDied) {
  connect();
  EXPECT_TRUE(receive(server, server_port).waits);
  EXPECT_TRUE(k.call(client, Call::call, client_port).waits);
  server.process->kill(k.cpu(), 3);
  k.settle();
  EXPECT_TRUE(k.result(client).is(Status::peer_died));
}

TEST_P(PortTest, ACallWaitsForTheSuccessorOfAReceiverThatIsGoing) {
  connect();
  Thread& keeper = k.make_thread();
  CapIndex kept = k.copy(server, server_port, keeper, all_rights(ObjectKind::port));
  EXPECT_TRUE(receive(server, server_port).waits);
  k.page(client).capabilities[0] = k.give(client, *MUST(Notification::create(k.cpu(), k.root()))).value;
  server.process->kill(k.cpu(), 0);  // and its threads are still there
  EXPECT_TRUE(k.call(client, Call::call, client_port, {6}, Descriptor::make(1, 1)).waits);
  EXPECT_TRUE(client.waits_for(WaitKind::send));
  k.settle();
  EXPECT_EQ(receive(keeper, kept).word[0], 6u);
}

TEST_P(PortTest, NoThreadOfAKilledProcessRunsByACallOrAReply) {
  connect();
  Thread& keeper = k.make_thread();
  (void)k.copy(server, server_port, keeper, all_rights(ObjectKind::port));
  EXPECT_TRUE(receive(server, server_port).waits);
  server.process->kill(k.cpu(), 0);  // its teardown has not begun
  EXPECT_TRUE(k.call(client, Call::call, client_port).waits);
  EXPECT_NE(k.cpu().current, &server);
  EXPECT_TRUE(client.waits_for(WaitKind::send));
}

TEST_P(PortTest, AKilledClientDoesNotRunWhenItIsAnswered) {
  connect();
  EXPECT_TRUE(receive(server, server_port).waits);
  EXPECT_TRUE(k.call(client, Call::call, client_port).waits);
  client.process->kill(k.cpu(), 0);
  (void)k.call(server, Call::reply_receive, server_port);
  EXPECT_NE(k.cpu().current, &client);
}

TEST_P(PortTest, ASuspendedServerTakesTheMessageAndWaitsToBeResumed) {
  connect();
  EXPECT_TRUE(receive(server, server_port).waits);
  server.suspend(k.cpu());
  EXPECT_TRUE(k.call(client, Call::call, client_port, {5}, Descriptor::make(1)).waits);
  EXPECT_TRUE(server.waits_for(WaitKind::stopped));
  k.check();
  server.resume(k.cpu());
  EXPECT_EQ(k.result(server).word[0], 5u);
}

TEST_P(PortTest, ServerThatFallsBelowAnotherMakesRoom) {
  connect();
  client.set_level(k.cpu(), 40);
  Thread& between = k.make_thread(30);
  EXPECT_TRUE(receive(server, server_port).waits);
  EXPECT_TRUE(k.call(client, Call::call, client_port).waits);
  EXPECT_EQ(k.cpu().current, &server);
  CapIndex reply = k.give(server, *MUST(Reply::create(k.cpu(), k.root())));
  EXPECT_TRUE(k.call(server, Call::reply_take, reply).ok());
  EXPECT_EQ(k.cpu().current, &between);  // the server is on its own level again
}

// --- Faults

class FaultTest : public PortTest {
 protected:
  void handle() {
    connect();
    MUST(client.process->set_handler(k.cpu(), {k.object<Port>(server, server_port), nullptr, k.root(), 99}));
  }
  void fault(u64 address = 0x123000) {
    k.make_current(client);
    enter_page_fault(k.cpu(), address, 2);
  }
};
INSTANTIATE_TEST_SUITE_P(Paths, FaultTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "fast" : "slow"; });

TEST_P(FaultTest, GoesToTheHandlerAndResumes) {
  handle();
  EXPECT_TRUE(receive(server, server_port).waits);
  client.state.rax = 0x1234;
  fault();
  auto got = k.result(server);
  EXPECT_EQ(got.kind(), MessageKind::fault);
  EXPECT_EQ(got.badge, 99u);
  EXPECT_EQ(got.word[0], u64(FaultKind::page));
  EXPECT_EQ(got.word[1], 0x123000u);
  EXPECT_EQ(got.word[2], 2u);
  EXPECT_EQ(got.word[5], client.id());
  EXPECT_EQ(got.word[6], client.process->id());
  k.check();
  EXPECT_TRUE(k.call(server, Call::reply_receive, server_port, {u64(FaultAnswer::resume)}, Descriptor::make(1)).waits);
  EXPECT_TRUE(TestKernel::runnable(client));
  EXPECT_EQ(client.state.rax, 0x1234u);  // no register is touched
}
TEST_P(FaultTest, IsKilledByTheAnswerOrItsAbsence) {
  for (u32 words : {0u, 1u}) {
    Thread& victim = k.make_thread();
    if (words == 0) handle();
    MUST(victim.process->set_handler(k.cpu(), {k.object<Port>(server, server_port), nullptr, k.root(), 1}));
    k.make_current(victim);
    enter_exception(k.cpu(), FaultKind::divide, 0);
    EXPECT_EQ(receive(server, server_port).word[0], u64(FaultKind::divide));
    EXPECT_TRUE(
        k.call(server, Call::reply_receive, server_port, {words == 0 ? 1u : 0u}, Descriptor::make(words)).waits);
    k.settle();
    EXPECT_EQ(victim.status(), ThreadStatus::dead);
    EXPECT_EQ(victim.process->state(), ProcessState::dead);
    server.cancel(k.cpu());
  }
}
TEST_P(FaultTest, HandlersDeathKillsOnlyWhatItHadTaken) {
  handle();
  Thread& keeper = k.make_thread();
  CapIndex kept = k.copy(server, server_port, keeper, all_rights(ObjectKind::port));
  Thread& second = k.make_thread();
  MUST(second.process->set_handler(k.cpu(), {k.object<Port>(server, server_port), nullptr, k.root(), 7}));
  fault();
  EXPECT_EQ(receive(server, server_port).badge, 99u);
  k.make_current(second);
  enter_exception(k.cpu(), FaultKind::breakpoint, 0);
  server.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_EQ(client.process->state(), ProcessState::dead);
  EXPECT_EQ(receive(keeper, kept).badge, 7u);
  EXPECT_TRUE(k.call(keeper, Call::reply_receive, kept, {1}, Descriptor::make(1)).waits);
  EXPECT_TRUE(TestKernel::runnable(second));
}
TEST_P(FaultTest, WithoutAHandlerKillsTheProcess) {
  connect();
  fault();
  k.settle();
  EXPECT_EQ(client.process->state(), ProcessState::dead);
  EXPECT_EQ(client.process->exit_status(), u64{0xfa17} << 32 | u64(FaultKind::page));
}
TEST_P(FaultTest, QueuedFaultRunsAgainWhenTheHandlerGoes) {
  handle();
  fault();
  EXPECT_TRUE(client.waits_for(WaitKind::send));
  EXPECT_TRUE(k.call(server, Call::cap_delete, server_port).ok());
  EXPECT_TRUE(TestKernel::runnable(client));
  fault();  // nobody handles it now
  k.settle();
  EXPECT_EQ(client.process->state(), ProcessState::dead);
}
TEST_P(FaultTest, ReplyObjectHoldsAFaultAndItsLastCapabilityKills) {
  handle();
  CapIndex reply = k.give(server, *MUST(Reply::create(k.cpu(), k.root())));
  fault();
  EXPECT_TRUE(receive(server, server_port).ok());
  EXPECT_TRUE(k.call(server, Call::reply_take, reply).ok());
  EXPECT_TRUE(k.call(server, Call::reply_send, reply, {1}, Descriptor::make(1)).ok());
  EXPECT_TRUE(TestKernel::runnable(client));
  fault();
  EXPECT_TRUE(receive(server, server_port).ok());
  EXPECT_TRUE(k.call(server, Call::reply_take, reply).ok());
  EXPECT_TRUE(k.call(server, Call::cap_delete, reply).ok());
  k.settle();
  EXPECT_EQ(client.process->state(), ProcessState::dead);
}

}  // namespace
}  // namespace keel::testing
