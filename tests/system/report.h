// What the programs of tests/system say and how they end: lines of the kernel's log, and the emulator's exit status.
#pragma once

#include <cstring>
#include <string_view>

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

[[noreturn]] inline void end(bool good) {
  static_cast<void>(sys::system_power(find_capability("control"), good ? 1 : 2));
  for (;;) static_cast<void>(sys::yield());
}

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
