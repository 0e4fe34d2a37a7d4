#include "base/format.h"

#include <gtest/gtest.h>

#include <climits>
#include <cstdio>
#include <string>

namespace keel {
namespace {

template <class... Args>
std::string text(format_detail::FormatString<std::type_identity_t<Args>...> string, const Args&... args) {
  char buffer[512];
  return std::string(format_to(buffer, string, args...));
}

TEST(Format, PlainTextAndDoubledBraces) {
  EXPECT_EQ(text("hello"), "hello");
  EXPECT_EQ(text(""), "");
  EXPECT_EQ(text("{{}} {{{}}}", 5), "{} {5}");
}

TEST(Format, Integers) {
  EXPECT_EQ(text("{} {} {}", 0, -1, 42u), "0 -1 42");
  EXPECT_EQ(text("{}", INT64_MIN), "-9223372036854775808");
  EXPECT_EQ(text("{:x}", INT64_MIN), "-8000000000000000");
  EXPECT_EQ(text("{} {:x} {:X}", UINT64_MAX, UINT64_MAX, UINT64_MAX),
            "18446744073709551615 ffffffffffffffff FFFFFFFFFFFFFFFF");
  EXPECT_EQ(text("{:b}", UINT64_MAX), std::string(64, '1'));
  EXPECT_EQ(text("{} {}", static_cast<u8>(200), static_cast<i8>(-100)), "200 -100");
}

TEST(Format, WidthFillAndAlignment) {
  EXPECT_EQ(text("[{:>8}]", "ab"), "[      ab]");
  EXPECT_EQ(text("[{:<8}]", 12), "[12      ]");
  EXPECT_EQ(text("[{:8}]", 12), "[      12]");
  EXPECT_EQ(text("[{:8}]", "ab"), "[ab      ]");
  EXPECT_EQ(text("[{:*>6}{:-<6}]", 1, 2), "[*****12-----]");
  EXPECT_EQ(text("{:08x}", 0xbeefu), "0000beef");
  EXPECT_EQ(text("{:05d}", -42), "-0042");
  EXPECT_EQ(text("{:#06x} {:#b}", 0xffu, 5u), "0x00ff 0b101");
  EXPECT_EQ(text("{:3}", 123456), "123456");
  EXPECT_EQ(text("{:255}", 1).size(), 255u);
}

TEST(Format, AgreesWithPrintf) {
  for (u64 seed = 1; seed < 5000; ++seed) {
    const u64 v = (seed * 0x9e3779b97f4a7c15u) >> (seed % 64);
    char expected[128];
    std::snprintf(expected, sizeof expected, "%lu|%ld|%lx|%16lx|%016lX|%-20ld|", v, static_cast<i64>(v), v, v, v,
                  static_cast<i64>(v));
    ASSERT_EQ(text("{}|{}|{:x}|{:16x}|{:016X}|{:<20}|", v, static_cast<i64>(v), v, v, v, static_cast<i64>(v)),
              expected);
  }
}

TEST(Format, OtherKinds) {
  EXPECT_EQ(text("{} {} {:d}", true, false, true), "true false 1");
  EXPECT_EQ(text("{}{:c}|{:x}|{:>3}", 'a', 'b', 'A', 'z'), "ab|41|  z");
  EXPECT_EQ(text("{}", static_cast<const char*>(nullptr)), "(null)");
  char mutable_text[] = "array";
  EXPECT_EQ(text("{} {}", mutable_text, std::string_view("view")), "array view");
  EXPECT_EQ(text("{}", reinterpret_cast<void*>(0x1234)), "0x1234");
  EXPECT_EQ(text("{} {:018}", nullptr, reinterpret_cast<int*>(0x1f)), "0x0 0x000000000000001f");
  EXPECT_EQ(text("{} {:x}", PhysAddr(255), VirtAddr(255)), "255 ff");
}

TEST(Format, StatusPrintsItsCamelCaseName) {
  EXPECT_EQ(text("{}", Status::ok), "Ok");
  EXPECT_EQ(text("{}", Status::bad_capability), "BadCapability");
  EXPECT_EQ(text("[{:>16}]", Status::not_a_directory), "[   NotADirectory]");
  EXPECT_EQ(text("{}", static_cast<Status>(9999)), "Unknown");
}

TEST(Format, CutsOffAtTheEndOfTheBuffer) {
  char buffer[8] = "#######";
  EXPECT_EQ(format_to(std::span<char>(buffer, 4), "{}", "abcdefgh"), "abcd");
  EXPECT_EQ(buffer[4], '#');
  EXPECT_EQ(format_to(std::span<char>(buffer, 0), "{:200}", 1), "");
  SpanSink sink(std::span<char>(buffer, 3));
  format(sink, "{}", 123);
  EXPECT_FALSE(sink.truncated());
  format(sink, "{}", 4);
  EXPECT_TRUE(sink.truncated());
}

struct StringSink {
  std::string all;
  void write(std::string_view s) { all += s; }
};

TEST(Format, WritesToAnySink) {
  StringSink sink;
  format(sink, "a{:>3}b", 7);
  EXPECT_EQ(sink.all, "a  7b");
}

TEST(Format, RuntimeSafeForUncheckedStrings) {
  const format_detail::Arg one{format_detail::Kind::signed_integer, 1, {}};
  for (std::string_view s : {"{", "}", "{:", "{:q}", "{} {}", "{:999}", "a}b", "{{", "{x"}) {
    StringSink sink;
    struct Adapter final : FormatSink {
      StringSink& s;
      explicit Adapter(StringSink& sink) : s(sink) {}
      void write(std::string_view t) override { s.write(t); }
    } adapter(sink);
    format_detail::vformat(adapter, s, {&one, 1});
    EXPECT_LT(sink.all.size(), 300u) << s;
  }
}

}  // namespace
}  // namespace keel
