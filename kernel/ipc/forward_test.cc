// Forwarding, through its call, on one CPU. On several: the scenario `forwards` of the simulator.
#include <gtest/gtest.h>

#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

// A client calls `front`, which forwards to `back`, each in a process of its own.
class ForwardTest : public ::testing::TestWithParam<bool> {
 protected:
  ForwardTest() : before(k.baseline()) {
    k.fast = GetParam();
    auto front_object = MUST(Port::create(k.cpu(), k.root(), 0));
    auto back_object = MUST(Port::create(k.cpu(), k.root(), 4));
    front_port = k.give(front, *front_object);
    back_port = k.give(back, *back_object);
    client_port = k.copy(front, front_port, client, rights::port::call, 42);
    through = k.copy(back, back_port, front, rights::port::call, 77);
  }
  ~ForwardTest() override {
    k.check();
    k.tear_down();
    EXPECT_EQ(k.baseline(), before);
  }
  // The front has the client's call.
  void take_call(u64 descriptor = Descriptor::make(1)) {
    EXPECT_TRUE(k.call(front, Call::receive, front_port).waits);
    EXPECT_TRUE(k.call(client, Call::call, client_port, {1}, descriptor).waits);
    EXPECT_EQ(k.result(front).badge, 42u);
  }
  CallResult forward(std::initializer_list<u64> words = {2}, u64 descriptor = Descriptor::make(1)) {
    return k.call(front, Call::forward, through, words, descriptor);
  }
  void back_waits() { EXPECT_TRUE(k.call(back, Call::receive, back_port).waits); }
  CallResult back_answers(u64 word) {
    return k.call(back, Call::reply_receive, back_port, {word}, Descriptor::make(1));
  }

  TestKernel k;
  TestMachine::Baseline before;
  Thread& client = k.make_thread(kNormalLevel + 3);
  Thread& front = k.make_thread();
  Thread& back = k.make_thread();
  CapIndex front_port, back_port, client_port, through;
};
INSTANTIATE_TEST_SUITE_P(Paths, ForwardTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "fast" : "slow"; });

TEST_P(ForwardTest, TheCallGoesOnWithTheForwardersWordsAndBadge) {
  back_waits();
  take_call();
  EXPECT_TRUE(forward({2, 3}, Descriptor::make(2)).ok());
  const CallResult got = k.result(back);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got.kind(), MessageKind::call);
  EXPECT_EQ(got.badge, 77u);
  EXPECT_EQ(got.descriptor.words(), 2u);
  EXPECT_EQ(got.word[0], 2u);
  EXPECT_EQ(got.word[1], 3u);
  // The client's time went along; the front is free, and serves the next.
  EXPECT_EQ(back.context, &client.own_context);
  EXPECT_EQ(front.context, &front.own_context);
  EXPECT_EQ(front.caller, nullptr);
  EXPECT_TRUE(forward().is(Status::bad_state));
  EXPECT_TRUE(k.call(front, Call::reply_receive, front_port, {9}, Descriptor::make(1)).waits);
  EXPECT_TRUE(k.result(client).waits);
  EXPECT_TRUE(back_answers(5).waits);
  EXPECT_EQ(k.result(client).word[0], 5u);
  EXPECT_EQ(k.result(client).badge, 0u);
}

TEST_P(ForwardTest, ABusyTargetGetsItLater) {
  take_call();
  EXPECT_TRUE(forward({6, 7, 8}, Descriptor::make(3)).ok());
  EXPECT_EQ(front.context, &front.own_context);
  EXPECT_TRUE(k.call(front, Call::receive, front_port).waits);
  const CallResult got = k.call(back, Call::receive, back_port);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got.badge, 77u);
  EXPECT_EQ(got.word[2], 8u);
  EXPECT_EQ(got.word[3], 0u);
  EXPECT_EQ(back.context, &client.own_context);
  EXPECT_TRUE(back_answers(5).waits);
  EXPECT_EQ(k.result(client).word[0], 5u);
}

TEST_P(ForwardTest, WordsOfThePageAndCapabilitiesNeedAReceiver) {
  const CapIndex bell = k.give(front, *MUST(Notification::create(k.cpu(), k.root())));
  take_call();
  k.page(front).capabilities[0] = bell.value;
  for (u32 i = 8; i < 20; ++i) k.page(front).words[i] = i;
  EXPECT_TRUE(forward({}, Descriptor::make(9)).is(Status::would_block));
  EXPECT_TRUE(forward({}, Descriptor::make(0, 1)).is(Status::would_block));
  EXPECT_NE(front.caller, nullptr);
  back_waits();
  const auto room = back.process->caps.used();
  back.process->caps.set_limit(room);
  EXPECT_TRUE(forward({}, Descriptor::make(20, 1)).is(Status::no_slot));
  EXPECT_NE(front.caller, nullptr);
  EXPECT_TRUE(k.result(back).waits);
  back.process->caps.set_limit(room + 1);
  EXPECT_TRUE(forward({}, Descriptor::make(20, 1)).ok());
  EXPECT_EQ(k.result(back).descriptor.capabilities(), 1u);
  EXPECT_EQ(k.page(back).words[19], 19u);
  EXPECT_TRUE(k.call(back, Call::notification_signal, CapIndex(k.page(back).capabilities[0]), {1}).ok());
  EXPECT_TRUE(back_answers(5).waits);
  EXPECT_TRUE(k.result(client).ok());
}

TEST_P(ForwardTest, BadRequestsChangeNothing) {
  EXPECT_TRUE(forward().is(Status::bad_state));
  take_call();
  EXPECT_TRUE(forward({}, Descriptor::make(481)).is(Status::too_big));
  EXPECT_TRUE(forward({}, Descriptor::kDeadline).is(Status::invalid_argument));
  EXPECT_TRUE(forward({}, u64{1} << 40).is(Status::invalid_argument));
  const CapIndex sender = k.copy(back, back_port, front, rights::port::send | rights::port::receive);
  EXPECT_TRUE(k.call(front, Call::forward, sender, {}).is(Status::missing_right));
  EXPECT_TRUE(k.call(front, Call::forward, CapIndex(0x20), {}).is(Status::bad_capability));
  EXPECT_EQ(front.caller, &client);
  EXPECT_TRUE(k.call(front, Call::reply_receive, front_port, {9}, Descriptor::make(1)).waits);
  EXPECT_EQ(k.result(client).word[0], 9u);
}

TEST_P(ForwardTest, ADeadOrRevokedTargetLeavesTheForwarderItsCaller) {
  take_call();
  EXPECT_TRUE(k.call(back, Call::cap_delete, back_port).ok());
  EXPECT_TRUE(forward().is(Status::peer_died));
  EXPECT_EQ(front.caller, &client);
  EXPECT_TRUE(front.process->caps.remove(k.cpu(), through));
  EXPECT_TRUE(forward().is(Status::bad_capability));
  EXPECT_TRUE(k.call(front, Call::reply_receive, front_port, {9}, Descriptor::make(1)).waits);
  EXPECT_EQ(k.result(client).word[0], 9u);
}

TEST_P(ForwardTest, TheTargetsEndAnswersTheCaller) {
  take_call();
  EXPECT_TRUE(forward().ok());
  EXPECT_TRUE(k.call(back, Call::cap_delete, back_port).ok());
  EXPECT_TRUE(k.result(client).is(Status::peer_died));
}

TEST_P(ForwardTest, TheDeathOfTheForwarderConcernsNobodyElse) {
  take_call();
  EXPECT_TRUE(forward().ok());
  front.process->kill(k.cpu(), 1);
  k.settle();
  EXPECT_TRUE(k.call(back, Call::receive, back_port).ok());
  EXPECT_TRUE(back_answers(5).waits);
  EXPECT_EQ(k.result(client).word[0], 5u);
}

TEST_P(ForwardTest, TheDeathOfTheSecondServerIsTheCallersToHear) {
  back_waits();
  take_call();
  EXPECT_TRUE(forward().ok());
  back.process->kill(k.cpu(), 1);
  k.settle();
  EXPECT_TRUE(k.result(client).is(Status::peer_died));
  EXPECT_EQ(client.context, &client.own_context);
}

TEST_P(ForwardTest, TheCallerMayDieQueuedOrServed) {
  take_call();
  EXPECT_TRUE(forward().ok());
  client.process->kill(k.cpu(), 1);
  k.settle();
  back_waits();
  Thread& other = k.make_thread(kNormalLevel + 5);
  client_port = k.copy(front, front_port, other, rights::port::call, 42);
  EXPECT_TRUE(k.call(front, Call::receive, front_port).waits);
  EXPECT_TRUE(k.call(other, Call::call, client_port, {1}, Descriptor::make(1)).waits);
  EXPECT_TRUE(k.result(front).ok());
  EXPECT_TRUE(forward().ok());
  other.process->kill(k.cpu(), 1);
  k.settle();
  EXPECT_EQ(back.context, &back.own_context);
  EXPECT_TRUE(back_answers(5).waits);
}

TEST_P(ForwardTest, DeadlineAndCancellationOfTheCallGoOn) {
  for (const bool received : {false, true}) {
    SCOPED_TRACE(received);
    if (received) back_waits();
    k.page(client).deadline = k.now() + 50'000;
    take_call(Descriptor::make(1) | Descriptor::kDeadline);
    EXPECT_TRUE(forward().ok());
    k.advance(50'000);
    EXPECT_TRUE(k.result(client).is(Status::timed_out));
    take_call();
    EXPECT_TRUE(k.call(front, Call::forward, through, {2}, Descriptor::make(1)).ok());
    client.cancel(k.cpu());
    EXPECT_TRUE(k.result(client).is(Status::cancelled));
    if (received) EXPECT_TRUE(back_answers(5).waits);  // the first, that is; the second went with its caller
  }
}

TEST_P(ForwardTest, ACallMayBeForwardedAgainAndTakenIntoAReply) {
  Thread& third = k.make_thread();
  auto port = MUST(Port::create(k.cpu(), k.root(), 0));
  const CapIndex third_port = k.give(third, *port);
  const CapIndex onward = k.copy(third, third_port, back, rights::port::call, 99);
  auto reply = MUST(Reply::create(k.cpu(), k.root()));
  const CapIndex later = k.give(third, *reply);
  back_waits();
  take_call();
  EXPECT_TRUE(forward().ok());
  EXPECT_TRUE(k.call(back, Call::forward, onward, {4}, Descriptor::make(1)).ok());
  EXPECT_EQ(k.call(third, Call::receive, third_port).badge, 99u);
  EXPECT_TRUE(k.call(third, Call::reply_take, later).ok());
  EXPECT_TRUE(k.call(third, Call::reply_send, later, {6}, Descriptor::make(1)).ok());
  EXPECT_EQ(k.result(client).word[0], 6u);
}

TEST_P(ForwardTest, FaultsAreNotForwarded) {
  MUST(client.process->set_handler(k.cpu(), {k.object<Port>(front, front_port), nullptr, k.root(), 3}));
  EXPECT_TRUE(k.call(front, Call::receive, front_port).waits);
  k.make_current(client);
  client.state.resume = arch::ResumeKind::interrupted;
  enter_exception(k.cpu(), FaultKind::divide, 0);
  EXPECT_EQ(k.result(front).kind(), MessageKind::fault);
  EXPECT_TRUE(forward().is(Status::bad_state));
}

}  // namespace
}  // namespace keel::testing
