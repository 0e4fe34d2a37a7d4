#include "user/apps/shell/parse.h"

#include <gtest/gtest.h>

#include <string>

namespace keel::shell {
namespace {

// Words in brackets, or the reason of the error.
std::string parsed(std::string_view line) {
  Command command;
  const char* reason = "";
  const Result<void> result = parse_command(line, &command, &reason);
  if (!result.has_value()) return reason;
  std::string all;
  for (const std::string_view word : command.words()) {
    all += "[" + std::string(word) + "]";
    EXPECT_EQ(word.data()[word.size()], '\0');
  }
  return all + (command.background() ? "&" : "");
}

TEST(Parse, SplitsAtBlanks) {
  EXPECT_EQ(parsed(""), "");
  EXPECT_EQ(parsed("  \t "), "");
  EXPECT_EQ(parsed("ls -l  /bin\t x\r\n"), "[ls][-l][/bin][x]");
  EXPECT_EQ(parsed("echo a#b # a comment"), "[echo][a#b]");
}

TEST(Parse, QuotesAndBackslashes) {
  EXPECT_EQ(parsed("echo 'a  b' \"c  d\""), "[echo][a  b][c  d]");
  EXPECT_EQ(parsed("a'b'\"c\"d"), "[abcd]");
  EXPECT_EQ(parsed("'' \"\""), "[][]");
  EXPECT_EQ(parsed("'\\' \"\\\"\\\\\\n\" \\'\\ x"), "[\\][\"\\\\n][' x]");
  EXPECT_EQ(parsed("'\"' \"'\""), "[\"][']");
  EXPECT_EQ(parsed("'abc"), "a ' is not closed");
  EXPECT_EQ(parsed("a \"bc\\\""), "a \" is not closed");
  EXPECT_EQ(parsed("abc\\"), "nothing follows the backslash");
}

TEST(Parse, BackgroundOnlyAtTheEnd) {
  EXPECT_EQ(parsed("run &"), "[run]&");
  EXPECT_EQ(parsed("run x& "), "[run][x]&");
  EXPECT_EQ(parsed("run '&' \\&"), "[run][&][&]");
  EXPECT_EQ(parsed("run & # later"), "[run]&");
  EXPECT_EQ(parsed("a & b"), "'&' is only allowed at the end");
  EXPECT_EQ(parsed("a &&"), "'&' is only allowed at the end");
  EXPECT_EQ(parsed("&"), "no command before '&'");
}

TEST(Parse, BoundsHold) {
  std::string words;
  for (usize i = 0; i < kMaxWords; ++i) words += "w ";
  EXPECT_EQ(parsed(words).size(), kMaxWords * 3);
  EXPECT_EQ(parsed(words + "w"), "too many words");
  EXPECT_EQ(parsed(std::string(kMaxCommandBytes, 'x')).size(), kMaxCommandBytes + 2);
  EXPECT_EQ(parsed(std::string(kMaxCommandBytes + 1, 'x')), "the line is too long");
  Command command;
  EXPECT_TRUE(parse_command("a b &", &command).has_value());
  EXPECT_FALSE(parse_command("'", &command).has_value());
  EXPECT_TRUE(command.words().empty());
}

}  // namespace
}  // namespace keel::shell
