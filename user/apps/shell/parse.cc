#include "user/apps/shell/parse.h"

namespace keel::shell {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace

Result<void> parse_command(std::string_view line, Command* command, const char** reason) {
  const auto fail = [&](Status status, const char* why) {
    if (reason != nullptr) *reason = why;
    command->words_.clear();
    return status;
  };
  command->words_.clear();
  command->background_ = false;
  if (line.size() > kMaxCommandBytes) return fail(Status::too_big, "the line is too long");

  usize used = 0;  // of bytes_: never more than line.size() plus a NUL per word
  usize i = 0;
  while (true) {
    while (i < line.size() && is_blank(line[i])) ++i;
    if (i == line.size() || line[i] == '#') break;
    if (command->background_) return fail(Status::invalid_argument, "'&' is only allowed at the end");
    if (line[i] == '&') {
      if (command->words_.empty()) return fail(Status::invalid_argument, "no command before '&'");
      command->background_ = true;
      ++i;
      continue;
    }
    const usize begin = used;
    char quote = 0;
    for (; i < line.size(); ++i) {
      const char c = line[i];
      if (quote == 0 && (is_blank(c) || c == '&')) break;
      if (quote == 0 && (c == '\'' || c == '"')) {
        quote = c;
      } else if (c == quote) {
        quote = 0;
      } else if (c == '\\' && quote == 0) {
        if (++i == line.size()) return fail(Status::invalid_argument, "nothing follows the backslash");
        command->bytes_[used++] = line[i];
      } else if (c == '\\' && quote == '"' && i + 1 < line.size() && (line[i + 1] == '"' || line[i + 1] == '\\')) {
        command->bytes_[used++] = line[++i];
      } else {
        command->bytes_[used++] = c;
      }
    }
    if (quote != 0) return fail(Status::invalid_argument, quote == '"' ? "a \" is not closed" : "a ' is not closed");
    if (!command->words_.push_back({command->bytes_.data() + begin, used - begin})) {
      return fail(Status::too_big, "too many words");
    }
    command->bytes_[used++] = '\0';
  }
  return {};
}

}  // namespace keel::shell
