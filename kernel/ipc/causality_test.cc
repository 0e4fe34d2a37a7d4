// Trace ids: what comes with calls, queued messages and new threads, and what does not.
#include <gtest/gtest.h>

#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

class CausalityTest : public ::testing::TestWithParam<bool> {
 protected:
  CausalityTest() : before(k.baseline()) {
    k.fast = GetParam();
    port = k.give(server, *MUST(Port::create(k.cpu(), k.root(), 4)));
    to_server = k.copy(server, port, client, rights::port::call | rights::port::send, 1);
  }
  ~CausalityTest() override {
    k.check();
    k.tear_down();
    EXPECT_EQ(k.baseline(), before);
  }
  void expect(Thread& t, u64 trace, u64 span) {
    const CallResult r = k.call(t, Call::trace_context);
    ASSERT_TRUE(r.ok());
    EXPECT_EQ(r.word[0], trace);
    EXPECT_EQ(r.word[1], span);
  }
  CallResult set(Thread& t, u64 trace, u64 span) { return k.call(t, Call::trace_context, {}, {trace, span, 1}); }

  TestKernel k;
  TestMachine::Baseline before;
  Thread& client = k.make_thread();
  Thread& server = k.make_thread();
  CapIndex port, to_server;
};
INSTANTIATE_TEST_SUITE_P(Paths, CausalityTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "fast" : "slow"; });

TEST_P(CausalityTest, TravelsWithACallAndStaysTheClients) {
  expect(client, 0, 0);
  EXPECT_EQ(set(client, 7, 8).word[0], 7u);
  EXPECT_TRUE(k.call(server, Call::receive, port).waits);
  EXPECT_TRUE(k.call(client, Call::call, to_server, {1}, Descriptor::make(1)).waits);
  EXPECT_TRUE(k.result(server).ok());
  expect(server, 7, 8);
  EXPECT_EQ(set(server, 20, 21).word[0], 7u);  // its own, which it does not run on
  EXPECT_TRUE(k.call(server, Call::reply_receive, port, {1}, Descriptor::make(1)).waits);
  expect(client, 7, 8);
}

TEST_P(CausalityTest, ComesWithQueuedMessagesAndEndsWithTheNext) {
  set(client, 7, 8);
  EXPECT_TRUE(k.call(client, Call::send, to_server, {1}, Descriptor::make(1)).ok());
  set(client, 9, 1);
  EXPECT_TRUE(k.call(client, Call::send, to_server, {2}, Descriptor::make(1)).ok());
  EXPECT_TRUE(k.call(server, Call::receive, port).ok());
  expect(server, 7, 8);
  EXPECT_TRUE(k.call(server, Call::receive, port).ok());
  expect(server, 9, 1);
  EXPECT_TRUE(k.call(server, Call::receive, port).waits);
  EXPECT_TRUE(k.call(client, Call::send, to_server, {3}, Descriptor::make(1)).ok());
  EXPECT_TRUE(k.result(server).ok());
  expect(server, 9, 1);
  const CapIndex bell = k.give(server, *MUST(Notification::create(k.cpu(), k.root())));
  EXPECT_TRUE(k.call(server, Call::port_bind, port, {bell.value}).ok());
  EXPECT_TRUE(k.call(server, Call::notification_signal, bell, {1}).ok());
  EXPECT_TRUE(k.call(server, Call::receive, port).ok());
  expect(server, 0, 0);
}

TEST_P(CausalityTest, GoesWhereACallIsForwardedAndNotIntoAReply) {
  set(client, 7, 8);
  Thread& back = k.make_thread();
  const CapIndex back_port = k.give(back, *MUST(Port::create(k.cpu(), k.root(), 0)));
  const CapIndex onward = k.copy(back, back_port, server, rights::port::call, 1);
  const CapIndex later = k.give(back, *MUST(Reply::create(k.cpu(), k.root())));
  EXPECT_TRUE(k.call(client, Call::call, to_server, {1}, Descriptor::make(1)).waits);
  EXPECT_TRUE(k.call(server, Call::receive, port).ok());
  EXPECT_TRUE(k.call(server, Call::forward, onward, {1}, Descriptor::make(1)).ok());
  expect(server, 0, 0);
  EXPECT_TRUE(k.call(back, Call::receive, back_port).ok());
  expect(back, 7, 8);
  EXPECT_TRUE(k.call(back, Call::reply_take, later).ok());
  expect(back, 0, 0);
}

TEST_P(CausalityTest, AThreadBeginsWithItsStartersAndRecordsHaveIt) {
  set(client, (u64{5} << 32) | 0xabcd, 2);
  const CapIndex process = k.give(client, *client.process);
  const CapIndex made = k.call(client, Call::thread_create, process, {kNormalLevel}).cap();
  Thread& child = k.adopt(client, made);
  EXPECT_TRUE(k.call(client, Call::thread_start, made, {kCallSite, 0x7000'0000, 0, 0}).ok());
  expect(child, (u64{5} << 32) | 0xabcd, 2);
  const u64 records = k.cpu().trace.next();
  EXPECT_TRUE(k.call(child, Call::process_info, process).ok());
  const TraceRecord& r = k.cpu().trace.at(records);
  EXPECT_EQ(r.event, TraceEvent::call);
  EXPECT_EQ(r.trace, 0xabcdu);
  EXPECT_EQ(r.process, client.process->id());
  EXPECT_TRUE(k.call(client, Call::trace_context, {}, {1, 1, 2}).is(Status::invalid_argument));
}

}  // namespace
}  // namespace keel::testing
