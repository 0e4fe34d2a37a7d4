#include "user/runtime/service_loop.h"

#include <gtest/gtest.h>

#include <deque>
#include <string>

#include "idl/console.h"
#include "user/runtime/host/fake_kernel.h"

namespace keel {
namespace {

class TestConsole final : public ConsoleServer {
 public:
  explicit TestConsole(ServiceLoop& loop) : typed_(loop) {}
  Result<void> write(Session, std::span<const std::byte> text) override {
    written.append(reinterpret_cast<const char*>(text.data()), text.size());
    return {};
  }
  Task<Result<FixedBytes<512>>> read(Session, u32 max, u64 until) override {
    while (input.empty()) {
      if (!co_await typed_.wait(Deadline(until))) co_return Status::timed_out;
    }
    FixedBytes<512> text(std::string_view(input).substr(0, max));
    input.erase(0, text.size());
    co_return text;
  }
  Result<void> set_foreground(Session, Cap, u64) override { return {}; }
  Result<ConsoleSizeReply> size(Session) override { return ConsoleSizeReply{80, 25}; }
  void type(std::string_view text) {
    input += text;
    typed_.notify();
  }
  std::string written, input;

 private:
  Event typed_;
};

// A port that delivers what the test queued, and remembers the replies.
struct Script {
  Script() {
    auto next = [this](CapIndex, Message& m) {
      if (incoming.empty()) return Status::timed_out;
      m = incoming.front().message;
      std::copy(incoming.front().page.begin(), incoming.front().page.end(), message_page().words);
      incoming.pop_front();
      return Status::ok;
    };
    host::machine().receive = next;
    host::machine().reply_receive = [this, next](CapIndex port, Message& m) {
      replies.push_back(m);
      return next(port, m);
    };
    host::machine().reply_send = [this](CapIndex, const Message& m) {
      deferred.push_back(m);
      deferred_text.assign(reinterpret_cast<const char*>(&message_page().words[8]), m.words[1]);
      return Status::ok;
    };
  }
  void signal(u32 bit) {
    incoming.push_back({Message{.words = {ServiceLoop::mask(bit)}, .word_count = 1, .kind = MessageKind::signal}, {}});
  }
  void read(u32 max, u64 until) {
    Message m;
    wire::Writer out(m, wire::header(kConsoleInterface, kConsoleVersion, 2), 3);
    out.word(max);
    out.word(until);
    m.kind = MessageKind::call;
    incoming.push_back({m, {}});
  }
  struct Incoming {
    Message message;
    std::array<u64, kMaxMessageWords> page;
  };
  std::deque<Incoming> incoming;
  std::vector<Message> replies, deferred;
  std::string deferred_text;
};

struct LoopTest : testing::Test {
  host::FakeKernel kernel;
  Script script;
  ServiceLoop loop{CapIndex(0x20)};
  TestConsole console{loop};
  void SetUp() override { loop.add(console); }
  void run(u32 rounds) {
    for (u32 i = 0; i < rounds; ++i) static_cast<void>(loop.run_once());
  }
};

TEST_F(LoopTest, AnswersAtOnceWithTheNextReceive) {
  console.input = "hello";
  script.read(4, ~u64{0});
  run(2);
  ASSERT_EQ(script.replies.size(), 1u);
  EXPECT_EQ(script.replies[0].words[0], 0u);
  EXPECT_EQ(script.replies[0].words[1], 4u);
  EXPECT_TRUE(script.deferred.empty());
}

TEST_F(LoopTest, AWaitingHandlerAnswersLater) {
  loop.on_signal(40, [&] { console.type("abc"); });
  script.read(10, ~u64{0});
  script.read(2, ~u64{0});
  run(2);
  EXPECT_TRUE(script.replies.empty());
  EXPECT_TRUE(script.deferred.empty());
  script.signal(40);
  run(2);
  ASSERT_EQ(script.deferred.size(), 1u);
  EXPECT_EQ(script.deferred_text, "abc");
  script.signal(40);
  run(2);
  ASSERT_EQ(script.deferred.size(), 2u);
  EXPECT_EQ(script.deferred_text, "ab");
  EXPECT_EQ(console.input, "c");
}

TEST_F(LoopTest, ADeadlineEndsTheWait) {
  script.read(10, 1);  // the test clock stands at 0, so a deadline of 0 is past and 1 is not
  run(2);
  EXPECT_TRUE(script.deferred.empty());
  script.read(10, 0);
  run(2);
  ASSERT_EQ(script.replies.size(), 1u);
  EXPECT_EQ(script.replies[0].words[0], static_cast<u64>(Status::timed_out));
  console.type("x");
  run(1);
  EXPECT_EQ(script.deferred.size(), 1u);
}

TEST_F(LoopTest, UnknownInterfacesAndEmptyMessagesAreRefused) {
  Message m{.words = {wire::header(99, 1, 1)}, .word_count = 1, .kind = MessageKind::call};
  script.incoming.push_back({m, {}});
  m.word_count = 0;
  script.incoming.push_back({m, {}});
  run(3);
  ASSERT_EQ(script.replies.size(), 2u);
  for (const Message& reply : script.replies) EXPECT_EQ(reply.words[0], static_cast<u64>(Status::not_supported));
}

TEST_F(LoopTest, TooManyDeferredAnswersAreRefusedNotForgotten) {
  for (usize i = 0; i <= ServiceLoop::kMaxDeferred; ++i) script.read(1, ~u64{0});
  run(static_cast<u32>(ServiceLoop::kMaxDeferred) + 2);
  ASSERT_EQ(script.replies.size(), 1u);
  EXPECT_EQ(script.replies[0].words[0], static_cast<u64>(Status::busy));
  for (usize i = 0; i <= ServiceLoop::kMaxDeferred; ++i) console.type("x");
  run(1);
  EXPECT_EQ(script.deferred.size(), ServiceLoop::kMaxDeferred);
}

}  // namespace
}  // namespace keel
