// Any command line, any option name: no access outside the text, and what is found is part of it.
#include <cstddef>
#include <cstdint>

#include "kernel/platform/boot_options.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  std::size_t split = text.find('\n');
  std::string_view line = text.substr(0, split);
  std::string_view name = split == std::string_view::npos ? "seed" : text.substr(split + 1);
  if (auto value = keel::boot_option(line, name)) {
    if (line.find(name) == std::string_view::npos || value->size() > line.size()) __builtin_trap();
  }
  (void)keel::boot_option_number(line, name);
  return 0;
}
