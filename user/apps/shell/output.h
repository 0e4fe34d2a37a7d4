// Output: text for the console, gathered so that a table is written in few pieces, each ending with a line.
#pragma once

#include "base/fixed.h"
#include "base/format.h"
#include "user/runtime/print.h"

namespace keel::shell {

class Output final : public FormatSink {
 public:
  Output() = default;
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  ~Output() { flush(); }

  void write(std::string_view text) override {
    while (!text.empty()) {
      if (buffer_.size() == buffer_.capacity()) flush_lines();
      const std::string_view part = text.substr(0, buffer_.capacity() - buffer_.size());
      buffer_.append(part);
      text.remove_prefix(part.size());
    }
  }
  template <class... Args>
  void print(format_detail::FormatString<std::type_identity_t<Args>...> string, const Args&... args) {
    format(*this, string, args...);
  }
  void flush() {
    if (!buffer_.empty()) print_text(buffer_);
    buffer_.clear();
  }

 private:
  void flush_lines() {
    const usize end = buffer_.view().rfind('\n');
    const usize keep_from = end == std::string_view::npos ? buffer_.size() : end + 1;
    print_text(buffer_.view().substr(0, keep_from));
    const FixedString<3072> rest(buffer_.view().substr(keep_from));
    buffer_ = rest;
  }
  FixedString<3072> buffer_;
};

}  // namespace keel::shell
