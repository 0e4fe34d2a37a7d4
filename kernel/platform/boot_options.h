// Boot options: the words of the kernel command line, `name` or `name=value`.
#pragma once

#include <optional>
#include <string_view>

#include "base/types.h"

namespace keel {

// The value of the last `name=value` word; empty for a bare `name`; nothing when the option is absent.
std::optional<std::string_view> boot_option(std::string_view command_line, std::string_view name);
inline bool has_boot_option(std::string_view command_line, std::string_view name) {
  return boot_option(command_line, name).has_value();
}
// The option's value as a decimal number; nothing when it is absent or no number.
std::optional<u64> boot_option_number(std::string_view command_line, std::string_view name);

}  // namespace keel
