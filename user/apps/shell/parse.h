// parse_command: splits a command line into words.
//
//   blanks separate words; '...' keeps everything; "..." keeps everything but \" and \\; outside quotes a backslash
//   keeps the next character; an '&' at the end runs the command in the background; '#' before a word begins a comment.
//
// Errors       invalid_argument, and *reason says why: an open quote, a backslash at the end, an '&' elsewhere.
//              too_big: more than kMaxWords words or kMaxCommandBytes bytes.
#pragma once

#include <array>
#include <string_view>

#include "base/inplace_vector.h"
#include "base/result.h"

namespace keel::shell {

inline constexpr usize kMaxWords = 64;
inline constexpr usize kMaxCommandBytes = 1024;

class Command {
 public:
  Command() = default;
  Command(const Command&) = delete;  // the words point into it
  Command& operator=(const Command&) = delete;

  // Empty for a blank line. Each word is followed by a NUL in memory.
  std::span<const std::string_view> words() const { return words_; }
  bool background() const { return background_; }

 private:
  friend Result<void> parse_command(std::string_view line, Command* command, const char** reason);
  std::array<char, kMaxCommandBytes + kMaxWords> bytes_{};
  InplaceVector<std::string_view, kMaxWords> words_;
  bool background_ = false;
};

Result<void> parse_command(std::string_view line, Command* command, const char** reason = nullptr);

}  // namespace keel::shell
