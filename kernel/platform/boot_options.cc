#include "kernel/platform/boot_options.h"

#include <charconv>

namespace keel {

std::optional<std::string_view> boot_option(std::string_view command_line, std::string_view name) {
  std::optional<std::string_view> found;
  while (!command_line.empty()) {
    std::string_view word = command_line.substr(0, command_line.find(' '));
    command_line.remove_prefix(word.size() < command_line.size() ? word.size() + 1 : word.size());
    if (!word.starts_with(name)) continue;
    std::string_view rest = word.substr(name.size());
    if (rest.empty()) {
      found = rest;
    } else if (rest.front() == '=') {
      found = rest.substr(1);
    }
  }
  return found;
}

std::optional<u64> boot_option_number(std::string_view command_line, std::string_view name) {
  std::optional<std::string_view> text = boot_option(command_line, name);
  if (!text) return std::nullopt;
  u64 value = 0;
  auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size()) return std::nullopt;
  return value;
}

}  // namespace keel
