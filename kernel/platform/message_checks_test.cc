#include "kernel/platform/message_checks.h"

#include <arch/integrity.h>
#include <gtest/gtest.h>

#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

class MessageChecksTest : public ::testing::Test {
 protected:
  MessageChecksTest() {
    auto port = MUST(Port::create(k.cpu(), k.root(), 4));
    server_port = k.give(server, *port);
    client_port = k.copy(server, server_port, client, rights::port::call | rights::transfer);
    platform().config.set(Knob::msg_crc_sample_rate, 1);
  }
  Platform& platform() { return k.machine().platform; }
  void turn_on(Knob knob) { platform().config.set(knob, 1); }
  CallResult call(u64 word0, u32 words) {
    for (u32 i = kRegisterWords; i < words; ++i) k.page(client).words[i] = i * 3;
    return k.call(client, Call::call, client_port, {word0}, Descriptor::make(words));
  }
  static constexpr u64 kHeader = 1 << 16 | 3 << 8 | 7;  // version 1, interface 3, method 7

  TestKernel k;
  Thread& server = k.make_thread();
  Thread& client = k.make_thread();
  CapIndex server_port, client_port;
};

TEST_F(MessageChecksTest, TheSumIsCrc32c) {
  const u64 zeros[4] = {};
  EXPECT_EQ(arch::crc32c(zeros), 0x8a9136aau);  // RFC 3720, B.4: 32 bytes of zeroes
  const u64 ones[4] = {~u64{0}, ~u64{0}, ~u64{0}, ~u64{0}};
  EXPECT_EQ(arch::crc32c(ones), 0x62a8ab43u);
}

TEST_F(MessageChecksTest, HeadersMustBeHeaders) {
  turn_on(Knob::msg_header_checks_enabled);
  ASSERT_TRUE(k.call(server, Call::receive, server_port).waits);
  EXPECT_TRUE(call(0, 1).is(Status::invalid_argument));        // nothing
  EXPECT_TRUE(call(3 << 8, 1).is(Status::invalid_argument));   // no version
  EXPECT_TRUE(call(1 << 16, 1).is(Status::invalid_argument));  // no interface
  EXPECT_TRUE(call(kHeader, 0).is(Status::invalid_argument));  // no word at all
  EXPECT_TRUE(call(u64{9} << 32, 12).is(Status::invalid_argument));
  EXPECT_TRUE(server.waits());
  ASSERT_TRUE(call(u64{77} << 32 | kHeader, 12).waits);
  auto got = k.result(server);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(k.page(server).words[11], 33u);
  // A reply begins with a status.
  EXPECT_TRUE(k.call(server, Call::reply_receive, server_port, {kStatusCount}, Descriptor::make(1))
                  .is(Status::invalid_argument));
  EXPECT_TRUE(client.waits());
  EXPECT_TRUE(k.call(server, Call::reply_receive, server_port, {u64(Status::not_found)}, Descriptor::make(1)).waits);
  EXPECT_EQ(k.result(client).word[0], u64(Status::not_found));
}

TEST_F(MessageChecksTest, WhatArrivesChangedIsRefused) {
  turn_on(Knob::msg_payload_crc_enabled);
  ASSERT_TRUE(k.call(server, Call::receive, server_port).waits);
  platform().spoil_messages = true;
  EXPECT_TRUE(call(5, 20).is(Status::corrupt));
  EXPECT_EQ(platform().bad_messages.load(kRelaxed), 1u);
  EXPECT_TRUE(server.waits());
  ASSERT_TRUE(call(5, 8).waits);  // nothing of it is in the page
  ASSERT_TRUE(k.result(server).ok());
  EXPECT_TRUE(k.call(server, Call::reply_receive, server_port, {0}, Descriptor::make(30)).is(Status::corrupt));
  platform().spoil_messages = false;
  EXPECT_TRUE(k.call(server, Call::reply_receive, server_port, {0}, Descriptor::make(30)).waits);
  EXPECT_TRUE(k.result(client).ok());
  EXPECT_EQ(platform().bad_messages.load(kRelaxed), 2u);
  LogRecord record;
  ASSERT_TRUE(k.machine().log.read(k.cpu(), 1, &record));
  EXPECT_NE(std::string_view(record.text, record.bytes).find("arrived changed"), std::string_view::npos);
}

TEST_F(MessageChecksTest, OneOfSoManyIsSummedUp) {
  turn_on(Knob::msg_payload_crc_enabled);
  platform().config.set(Knob::msg_crc_sample_rate, 3);
  platform().spoil_messages = true;
  u32 refused = 0;
  for (u32 i = 0; i < 9; ++i) {
    if (!server.waits_for(WaitKind::receive)) {
      ASSERT_TRUE(k.call(server, Call::reply_receive, server_port, {0}, Descriptor::make(1)).waits);
      ASSERT_TRUE(k.result(client).ok());
    }
    refused += call(5, 20).is(Status::corrupt);
  }
  EXPECT_EQ(refused, 3u);
}

}  // namespace
}  // namespace keel::testing
