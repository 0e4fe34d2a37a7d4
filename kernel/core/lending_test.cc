// A budget that ends while a server works on it: who waits for the server lends it theirs.
#include "kernel/core/scheduling_rig_test.h"

namespace keel::testing {
namespace {

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

}  // namespace
}  // namespace keel::testing
