// Priority inversion: somebody of a high level waits for somebody of a low one, while somebody in between wants to run.
// Every case in which that can happen at a port, and every way in which what was lent must come back.
#include <gtest/gtest.h>

#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

constexpr u32 kLow = 17, kMedium = 33, kHigh = 40;

// low, medium and high; a server of a low level; each test with and without the fast paths.
class InversionTest : public ::testing::TestWithParam<bool> {
 protected:
  InversionTest() : before(k.baseline()) {
    k.fast = GetParam();
    a = open(server);
    b = open(inner);
    high.suspend(k.cpu());  // until it calls
  }
  ~InversionTest() override {
    k.check();
    k.tear_down();
    EXPECT_EQ(k.baseline(), before);
  }

  struct Served {
    Thread* by;
    CapIndex receive;
  };
  Served open(Thread& by) { return {&by, k.give(by, *MUST(Port::create(k.cpu(), k.root(), 4)))}; }
  CapIndex connect(Thread& from, const Served& to, Thread& by) {
    return k.copy(by, to.receive, from, rights::port::call | rights::port::send);
  }
  void serve(const Served& port) { EXPECT_TRUE(k.call(*port.by, Call::receive, port.receive).waits); }
  void call(Thread& from, const Served& to, u64 deadline_ns = 0) {
    from.resume(k.cpu());
    if (deadline_ns != 0) k.page(from).deadline = k.now() + deadline_ns;
    EXPECT_TRUE(
        k.call(from, Call::call, connect(from, to, *to.by), {}, deadline_ns != 0 ? Descriptor::kDeadline : 0).waits);
    k.check();
  }
  CallResult reply(const Served& port) { return k.call(*port.by, Call::reply_receive, port.receive); }
  // Who is given the CPU.
  Thread* runs() {
    k.cpu().reschedule = true;  // make_current() let somebody run who ought not to
    enter_self_interrupt(k.cpu());
    k.check();
    return k.cpu().current;
  }
  // low's call is being served, medium wants to run, and high waits for the server.
  void invert(u64 deadline_ns = 0) {
    serve(a);
    call(low, a);
    EXPECT_EQ(server.context->level, kLow);
    EXPECT_EQ(runs(), &medium);
    call(high, a, deadline_ns);
    EXPECT_EQ(runs(), &server);
    EXPECT_EQ(server.context, &low.own_context);
    EXPECT_EQ(low.own_context.level, kHigh);
  }

  TestKernel k;
  TestMachine::Baseline before;
  Thread& server = k.make_thread(kNormalLevel);
  Thread& inner = k.make_thread(kNormalLevel);
  Thread& low = k.make_thread(kLow);
  Thread& high = k.make_thread(kHigh);
  Thread& medium = k.make_thread(kMedium);
  Served a;
  Served b;
};
INSTANTIATE_TEST_SUITE_P(Paths, InversionTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "fast" : "slow"; });

TEST_P(InversionTest, ABusyServerHurriesForTheBestWaiter) {
  invert();
  // The reply: low has its level back, and the server works for high, on its context.
  EXPECT_TRUE(reply(a).ok());
  EXPECT_EQ(low.own_context.level, kLow);
  EXPECT_EQ(server.context, &high.own_context);
  EXPECT_EQ(runs(), &server);
  EXPECT_TRUE(reply(a).waits);
  EXPECT_EQ(runs(), &high);
  EXPECT_EQ(server.own_context.level, kNormalLevel);
}

TEST_P(InversionTest, WhoeverTheServerWaitsForHurriesToo) {
  serve(b);
  serve(a);
  call(low, a);
  call(server, b);
  EXPECT_EQ(inner.context, &low.own_context);
  EXPECT_EQ(runs(), &medium);
  call(high, a);
  EXPECT_EQ(runs(), &inner);
  EXPECT_EQ(inner.context->level, kHigh);
  EXPECT_TRUE(reply(b).waits);
  EXPECT_EQ(runs(), &server);  // still hurries: it has not replied
  EXPECT_EQ(server.context->level, kHigh);
  EXPECT_TRUE(reply(a).ok());
  EXPECT_EQ(low.own_context.level, kLow);
}

TEST_P(InversionTest, HurryPassesThroughTheQueuesOfBusyServers) {
  // low2 keeps the inner server busy; the outer server, which works for low, waits for it in its queue.
  Thread& low2 = k.make_thread(kLow);
  serve(b);
  serve(a);
  call(low2, b);
  call(low, a);
  call(server, b);  // queued
  EXPECT_EQ(inner.context, &low2.own_context);
  EXPECT_EQ(runs(), &medium);
  call(high, a);
  EXPECT_EQ(low.own_context.level, kHigh);
  EXPECT_EQ(low2.own_context.level, kHigh);
  EXPECT_EQ(runs(), &inner);
  EXPECT_TRUE(reply(b).ok());
  EXPECT_EQ(low2.own_context.level, kLow);
  EXPECT_EQ(inner.context, &low.own_context);
  EXPECT_EQ(runs(), &inner);
  EXPECT_TRUE(reply(b).waits);
  EXPECT_EQ(runs(), &server);
}

TEST_P(InversionTest, CallersAreServedByLevelAndInOrderWithinOne) {
  Thread* callers[5] = {&low, &high, &k.make_thread(kHigh), &k.make_thread(kLow), &k.make_thread(kMedium)};
  const CapIndex message = connect(medium, a, server);
  serve(a);
  call(*callers[0], a);
  for (u32 i = 1; i < 5; ++i) call(*callers[i], a);
  EXPECT_TRUE(k.call(medium, Call::send, message, {77}, Descriptor::make(1)).ok());  // as medium's callers, before them
  for (Thread* next : {callers[1], callers[2]}) {
    EXPECT_TRUE(reply(a).ok());
    EXPECT_EQ(server.caller, next);
  }
  EXPECT_EQ(reply(a).word[0], 77u);
  for (Thread* next : {callers[4], callers[3]}) {
    EXPECT_TRUE(reply(a).ok());
    EXPECT_EQ(server.caller, next);
  }
  EXPECT_TRUE(reply(a).waits);
}

TEST_P(InversionTest, MessagesAreReceivedByTheLevelOfTheirSenders) {
  high.resume(k.cpu());
  Thread* senders[4] = {&low, &high, &medium, &high};
  for (u32 i = 0; i < 4; ++i) {
    EXPECT_TRUE(k.call(*senders[i], Call::send, connect(*senders[i], a, server), {i}, Descriptor::make(1)).ok());
  }
  EXPECT_TRUE(k.call(low, Call::send, connect(low, a, server)).is(Status::would_block));
  for (u64 i : {1, 3, 2, 0}) EXPECT_EQ(k.call(server, Call::receive, a.receive).word[0], i);
  // The places are used again.
  for (u32 i = 0; i < 4; ++i) {
    EXPECT_TRUE(k.call(*senders[i], Call::send, connect(*senders[i], a, server), {i}, Descriptor::make(1)).ok());
  }
  for (u64 i : {1, 3, 2, 0}) EXPECT_EQ(k.call(server, Call::receive, a.receive).word[0], i);
}

TEST_P(InversionTest, LevelsChangeWhileTheyAreLent) {
  invert();
  high.set_level(k.cpu(), 50);
  EXPECT_EQ(low.own_context.level, 50u);
  high.set_level(k.cpu(), kLow);
  EXPECT_EQ(low.own_context.level, kLow);
  EXPECT_EQ(runs(), &medium);
  high.set_level(k.cpu(), kHigh);
  EXPECT_EQ(runs(), &server);
  low.set_level(k.cpu(), 60);  // more than is lent
  EXPECT_EQ(low.own_context.level, 60u);
  low.set_level(k.cpu(), 5);
  EXPECT_EQ(low.own_context.level, kHigh);
  EXPECT_TRUE(reply(a).ok());
  EXPECT_EQ(low.own_context.level, 5u);
}

TEST_P(InversionTest, AServerWithoutACallerHurriesOnItsOwn) {
  serve(a);
  EXPECT_TRUE(k.call(low, Call::send, connect(low, a, server), {1}, Descriptor::make(1)).ok());
  EXPECT_TRUE(k.result(server).ok());
  EXPECT_EQ(runs(), &medium);
  call(high, a);
  EXPECT_EQ(server.own_context.level, kHigh);
  EXPECT_EQ(runs(), &server);
  EXPECT_TRUE(k.call(server, Call::receive, a.receive).ok());
  EXPECT_EQ(server.own_context.level, kNormalLevel);
  EXPECT_TRUE(reply(a).waits);
}

TEST_P(InversionTest, AllBusyServersOfAPortHurry) {
  Thread& other = k.make_thread(*server.process, kNormalLevel);
  serve(a);
  EXPECT_TRUE(k.call(other, Call::receive, a.receive).waits);
  call(low, a);
  Thread& low2 = k.make_thread(kLow);
  call(low2, a);
  call(high, a);
  EXPECT_EQ(low.own_context.level, kHigh);
  EXPECT_EQ(low2.own_context.level, kHigh);
  // The first to reply takes the call; the other need not hurry any more.
  EXPECT_TRUE(k.call(other, Call::reply_receive, a.receive).ok());
  EXPECT_EQ(low.own_context.level, kLow);
  EXPECT_EQ(low2.own_context.level, kLow);
  EXPECT_EQ(other.context, &high.own_context);
}

TEST_P(InversionTest, AThreadThatMovesToAnotherPortNoLongerServesTheFirst) {
  serve(a);
  const CapIndex second = k.give(server, *MUST(Port::create(k.cpu(), k.root(), 0)));
  server.cancel(k.cpu());
  EXPECT_TRUE(k.call(server, Call::receive, second).waits);
  EXPECT_TRUE(k.call(low, Call::call, k.copy(server, second, low, rights::port::call)).waits);
  call(high, a);
  EXPECT_EQ(low.own_context.level, kLow);
  // It comes back with the reply, by a capability that the fast path does not know.
  EXPECT_TRUE(k.call(server, Call::reply_receive, a.receive).ok());
  EXPECT_EQ(server.caller, &high);
  EXPECT_TRUE(reply(a).waits);
}

// --- What is lent comes back

TEST_P(InversionTest, WhenTheWaiterGivesUp) {
  invert(1'000'000);
  k.advance(2'000'000);
  EXPECT_TRUE(k.result(high).is(Status::timed_out));
  EXPECT_EQ(low.own_context.level, kLow);
  k.check();
}
TEST_P(InversionTest, WhenTheWaiterIsCancelled) {
  invert();
  high.cancel(k.cpu());
  EXPECT_EQ(low.own_context.level, kLow);
  EXPECT_EQ(runs(), &high);
}
TEST_P(InversionTest, WhenTheWaiterDies) {
  invert();
  high.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_EQ(low.own_context.level, kLow);
  EXPECT_EQ(runs(), &medium);
}
TEST_P(InversionTest, WhenTheServedCallerDiesTheServerHurriesOnItsOwn) {
  invert();
  low.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_EQ(server.context, &server.own_context);
  EXPECT_EQ(server.own_context.level, kHigh);
  EXPECT_EQ(runs(), &server);
  EXPECT_TRUE(reply(a).ok());
  EXPECT_EQ(server.own_context.level, kNormalLevel);
}
TEST_P(InversionTest, WhenTheServedCallerIsCancelled) {
  invert();
  low.cancel(k.cpu());
  EXPECT_EQ(low.own_context.level, kLow);
  EXPECT_EQ(server.own_context.level, kHigh);
  EXPECT_EQ(runs(), &server);
}
TEST_P(InversionTest, WhenTheCallIsDeferred) {
  invert();
  CapIndex reply_object = k.give(server, *MUST(Reply::create(k.cpu(), k.root())));
  EXPECT_TRUE(k.call(server, Call::reply_take, reply_object).ok());
  EXPECT_EQ(low.own_context.level, kLow);
  EXPECT_EQ(server.own_context.level, kHigh);  // has not received again: high still waits for it
  EXPECT_EQ(runs(), &server);
  EXPECT_TRUE(k.call(server, Call::receive, a.receive).ok());
  EXPECT_EQ(server.caller, &high);
  EXPECT_EQ(server.own_context.level, kNormalLevel);
  EXPECT_TRUE(k.call(server, Call::reply_send, reply_object).ok());
}
TEST_P(InversionTest, WhenTheServerDies) {
  invert();
  server.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_TRUE(k.result(low).is(Status::peer_died));
  EXPECT_EQ(low.own_context.level, kLow);
}
TEST_P(InversionTest, WhenTheServerInTheMiddleDies) {
  serve(b);
  serve(a);
  call(low, a);
  call(server, b);
  call(high, a);
  EXPECT_EQ(inner.context->level, kHigh);
  server.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_TRUE(k.result(low).is(Status::peer_died));
  EXPECT_EQ(low.own_context.level, kLow);
  EXPECT_EQ(inner.context, &inner.own_context);
  EXPECT_EQ(inner.own_context.level, kNormalLevel);
  EXPECT_EQ(runs(), &high);  // waits for the successor; there is none
}
TEST_P(InversionTest, WhenThePortGoes) {
  invert();
  server.process->kill(k.cpu(), 0);
  low.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_TRUE(k.result(high).is(Status::peer_died));
}

}  // namespace
}  // namespace keel::testing
