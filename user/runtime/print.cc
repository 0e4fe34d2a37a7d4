#include "user/runtime/print.h"

#include <cstring>

#include "idl/console.h"
#include "user/runtime/capabilities.h"
#include "user/runtime/stubs.h"
#include "user/runtime/thread_block.h"

namespace keel {

void log_text(LogLevel level, std::string_view text) {
  CapIndex target = find_capability("log");
  if (target == kNoCapability) target = find_capability("control");  // the service manager, which `log` comes from
  if (target == kNoCapability) return;
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  text = text.substr(0, kMaxLogBytes);
  const LastError before = last_error();  // reporting a failure must not replace it
  std::memcpy(message_page().words, text.data(), text.size());
  static_cast<void>(sys::log_write(target, text.size(), static_cast<u64>(level)));  // nowhere to report to
  last_error() = before;
}

void print_text(std::string_view text) {
  const ConsoleClient console(find_capability("console"));
  if (!console) return log_text(LogLevel::info, text);
  while (!text.empty()) {
    const std::string_view piece = text.substr(0, 3072);
    const Result<void> written = console.write(std::as_bytes(std::span(piece.data(), piece.size())));
    if (!written.has_value()) return log_text(LogLevel::warning, text);
    text.remove_prefix(piece.size());
  }
}

}  // namespace keel
