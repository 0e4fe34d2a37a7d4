// What a client may say to a server, and the server not be fooled by: a confused deputy is one that uses its own
// authority for what a client only named. Names are indices of the client's own space; who calls is said by the kernel.
#include <gtest/gtest.h>

#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

class DeputyTest : public ::testing::TestWithParam<bool> {
 protected:
  DeputyTest() {
    k.fast = GetParam();
    auto port = MUST(Port::create(k.cpu(), k.root(), 4));
    receive = k.give(server, *port);
    target = k.copy(server, receive, client, rights::port::call | rights::port::send | rights::derive, 42);
    secret = k.give(server, *MUST(Notification::create(k.cpu(), k.root())));
  }
  ~DeputyTest() override {
    k.check();
    k.tear_down();
  }
  void server_waits() { EXPECT_TRUE(k.call(server, Call::receive, receive).waits); }

  TestKernel k;
  Thread& client = k.make_thread();
  Thread& server = k.make_thread();
  CapIndex receive, target, secret;
};
INSTANTIATE_TEST_SUITE_P(Paths, DeputyTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "fast" : "slow"; });

// The index of a capability that only the server has, sent as if it were the client's to give.
TEST_P(DeputyTest, AnIndexOfTheServersNamesNothingWhenAClientSendsIt) {
  server_waits();
  client.message_page->capabilities[0] = secret.value;
  server.message_page->capabilities[0] = 0;
  EXPECT_TRUE(k.call(client, Call::call, target, {}, Descriptor::make(0, 1)).is(Status::bad_capability));
  EXPECT_TRUE(server.waits());
  EXPECT_EQ(server.message_page->capabilities[0], 0u);
}

// What arrives is a capability of the server's space to the client's object, never the number that the client wrote.
TEST_P(DeputyTest, WhatAClientGivesIsNamedAnewForTheServer) {
  CapIndex own;
  auto offered = MUST(Notification::create(k.cpu(), k.root()));
  do {  // the same number as the server's secret
    own = k.give(client, *offered);
  } while (own != secret);
  server_waits();
  client.message_page->capabilities[0] = own.value;
  EXPECT_TRUE(k.call(client, Call::call, target, {}, Descriptor::make(0, 1)).waits);
  const CapIndex got(server.message_page->capabilities[0]);
  EXPECT_NE(got, secret);
  EXPECT_EQ(&k.object<Notification>(server, got), offered.get());
  EXPECT_NE(&k.object<Notification>(server, secret), offered.get());
}

// The badge is the capability's; nothing in registers or page changes it, nor does a derivation.
TEST_P(DeputyTest, NobodyChoosesTheBadgeThatTheServerSees) {
  server_waits();
  for (u64& word : client.message_page->words) word = 7;
  EXPECT_TRUE(k.call(client, Call::call, target, {7, 7, 7, 7, 7, 7, 7, 7}, Descriptor::make(20)).waits);
  EXPECT_EQ(k.result(server).badge, 42u);
  EXPECT_TRUE(k.call(server, Call::reply_receive, receive, {}, Descriptor::make(0)).waits);
  EXPECT_TRUE(k.call(client, Call::cap_derive, target, {rights::port::call, 7}).is(Status::missing_right));
  const CallResult same = k.call(client, Call::cap_derive, target, {rights::port::call, 0});
  ASSERT_TRUE(same.ok());
  EXPECT_TRUE(k.call(client, Call::call, same.cap(), {7}, Descriptor::make(1)).waits);
  EXPECT_EQ(k.result(server).badge, 42u);
}

// A reply goes to who called: the server cannot be made to answer somebody else, and a client cannot answer for it.
TEST_P(DeputyTest, AClientCannotReceiveOrReplyInTheServersPlace) {
  EXPECT_TRUE(k.call(client, Call::receive, target).is(Status::missing_right));
  EXPECT_TRUE(k.call(client, Call::reply_receive, target, {1}, Descriptor::make(1)).is(Status::missing_right));
  EXPECT_TRUE(k.call(client, Call::reply_send, secret, {1}, Descriptor::make(1)).is(Status::bad_capability));
}

}  // namespace
}  // namespace keel::testing
