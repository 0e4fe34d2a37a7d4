// Text for people: print() to the console, log_*() to the log. Format strings as in base/format.h.
#pragma once

#include <string_view>

#include "abi/types.h"
#include "base/format.h"

namespace keel {

inline constexpr usize kMaxLogBytes = 240;
inline constexpr usize kMaxPrintBytes = 1024;

// One record; cut off at kMaxLogBytes. Does nothing in a process without the capability `log`.
void log_text(LogLevel level, std::string_view text);
// To the capability `console`; a process without one writes lines to the log. Console output waits for the console.
void print_text(std::string_view text);

template <class... Args>
void log(LogLevel level, format_detail::FormatString<std::type_identity_t<Args>...> string, const Args&... args) {
  char line[kMaxLogBytes];
  log_text(level, format_to(line, string, args...));
}
template <class... Args>
void log_notice(format_detail::FormatString<std::type_identity_t<Args>...> string, const Args&... args) {
  log(LogLevel::notice, string, args...);
}
template <class... Args>
void log_info(format_detail::FormatString<std::type_identity_t<Args>...> string, const Args&... args) {
  log(LogLevel::info, string, args...);
}
template <class... Args>
void log_warning(format_detail::FormatString<std::type_identity_t<Args>...> string, const Args&... args) {
  log(LogLevel::warning, string, args...);
}
template <class... Args>
void log_error(format_detail::FormatString<std::type_identity_t<Args>...> string, const Args&... args) {
  log(LogLevel::error, string, args...);
}

// Longer output than kMaxPrintBytes is cut off.
template <class... Args>
void print(format_detail::FormatString<std::type_identity_t<Args>...> string, const Args&... args) {
  char text[kMaxPrintBytes];
  print_text(format_to(text, string, args...));
}

}  // namespace keel
