// What the programs of tests/system say and how they end: lines of the kernel's log, and the emulator's exit status.
#pragma once

#include <cstring>
#include <string_view>
#include <type_traits>

#include "base/format.h"
#include "user/runtime/capabilities.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"
#include "user/runtime/thread_block.h"

namespace keel::report {

inline void say(std::string_view text) {
  std::memcpy(message_page().words, text.data(), text.size());
  static_cast<void>(sys::log_write(find_capability("control"), text.size(), 2));
}
template <class... Args>
void line(format_detail::FormatString<std::type_identity_t<Args>...> string, const Args&... args) {
  char text[200];
  say(format_to(text, string, args...));
}

// There are no buses to look at first: the other CPUs join now.
inline void start_cpus() { static_cast<void>(sys::cpus_start(find_capability("control"))); }

[[noreturn]] inline void end(bool good) {
  static_cast<void>(sys::system_power(find_capability("control"), good ? 1 : 2));
  for (;;) static_cast<void>(sys::yield());
}

// One result, in TAP form. Answers whether it is good.
inline u32 g_results = 0, g_failures = 0;
inline bool result(bool good, std::string_view name) {
  line("{} {} - {}", good ? "ok" : "not ok", ++g_results, name);
  g_failures += !good;
  return good;
}
// Ends the test, which has said all its results.
[[noreturn]] inline void end_of_results() { end(g_failures == 0); }

// Ends the test, which is called `test`, if the status is not ok.
inline void need(Status status, const char* test, const char* what) {
  if (status == Status::ok) return;
  char line[150];
  say(format_to(line, "not ok 1 - {}: {}: {}", test, what, status));
  end(false);
}
template <class T>
T need(Result<T> result, const char* test, const char* what) {
  need(result.status(), test, what);
  return *std::move(result);
}

// The number in the boot option test=N; 0 if there is none.
inline u64 amount() {
  u64 n = 0;
  for (char c : argument_value("test")) n = n * 10 + u64(c - '0');
  return n;
}

}  // namespace keel::report
