// CpioArchive: each accepted entry can be read whole and found.
#include <cstdint>

#include "user/runtime/cpio.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace keel;  // NOLINT
  const Result<CpioArchive> archive = CpioArchive::open(std::as_bytes(std::span(data, size)));
  if (!archive.has_value()) return 0;
  usize count = 0;
  volatile unsigned sum = 0;
  for (const CpioEntry& entry : *archive) {
    ++count;
    for (const std::byte b : entry.data) sum = sum + static_cast<unsigned>(b);
    for (const char c : entry.name) sum = sum + static_cast<unsigned>(c);
    if (count < 4 && !archive->find(entry.name).has_value()) __builtin_trap();
  }
  if (count != archive->entry_count()) __builtin_trap();
  return 0;
}
