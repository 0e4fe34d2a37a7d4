// What the builtin commands share, and those that have a file of their own.
#pragma once

#include <charconv>
#include <string_view>

#include "user/apps/shell/shell.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"

namespace keel::shell {

u64 audit(Shell& shell, Words words);    // audit.cc
u64 capctl(Shell& shell, Words words);   // capctl.cc
u64 kconfig(Shell& shell, Words words);  // kconfig.cc
u64 ps(Shell& shell, Words words);       // activity.cc
u64 top(Shell& shell, Words words);      // activity.cc
u64 group(Shell& shell, Words words);    // groups.cc

inline CapIndex kernel_info() { return find_capability("kernel-info"); }

// Shows how the builtin is used; exit status 2.
u64 usage(std::string_view name);

// Decimal, or hexadecimal after 0x.
inline Result<u64> number_of(std::string_view text) {
  u64 value = 0;
  const bool hexadecimal = text.starts_with("0x");
  if (hexadecimal) text.remove_prefix(2);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, hexadecimal ? 16 : 10);
  if (error != std::errc() || end != text.data() + text.size()) return Status::invalid_argument;
  return value;
}

// "kernel" for 0, "gone" for one that is no more.
FixedString<24> name_of_process(u64 pid);
// A process by number or name (the first that has it). Errors: not_found.
Result<u64> process_of(std::string_view text);
// "all", "-", or their names with blanks between.
FixedString<160> names_of_rights(ObjectKind kind, Rights rights);

// A name that the kernel keeps in words, zero padded.
template <usize Words>
struct KernelName {
  std::string_view view() const {
    const char* text = reinterpret_cast<const char*>(words);
    usize size = 0;
    while (size < sizeof words && text[size] != 0) ++size;
    return {text, size};
  }
  u64 words[Words];
};
inline KernelName<3> name_of(const sys::ProcessListResult& p) { return {{p.name0, p.name1, p.name2}}; }
inline KernelName<2> group_of(const sys::ThreadListResult& t) { return {{t.group_name0, t.group_name1}}; }

// Parts of a whole in per cent, with one digit after the point.
struct Percent {
  u64 part;
  u64 whole;
  FixedString<16> text() const {
    const u64 tenths = whole == 0 ? 0 : (part * 1000 + whole / 2) / whole;
    FixedString<16> out;
    format(out, "{}.{}", tenths / 10, tenths % 10);
    return out;
  }
};
// Time in seconds, with milliseconds.
inline FixedString<24> seconds_of(u64 ns) {
  FixedString<24> out;
  format(out, "{}.{:03}", ns / 1'000'000'000, ns / 1'000'000 % 1000);
  return out;
}

}  // namespace keel::shell
