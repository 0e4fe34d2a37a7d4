// parse_config: a start order holds each usable service once, behind what it needs.
#include <cstdint>

#include "user/services/manager/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace keel::manager;  // NOLINT
  const Config config = parse_config({reinterpret_cast<const char*>(data), size});
  std::size_t usable = 0;
  for (const Service& s : config.services) usable += s.failed() ? 0 : 1;
  const auto order = config.start_order();
  if (order.size() != usable) __builtin_trap();
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (const std::string_view need : config.services[order[i]].needs) {
      bool before = false;
      for (std::size_t j = 0; j < i; ++j) before |= config.services[order[j]].name == need;
      if (!before) __builtin_trap();
    }
  }
  if (config.errors.empty() && usable != config.services.size()) __builtin_trap();
  return 0;
}
