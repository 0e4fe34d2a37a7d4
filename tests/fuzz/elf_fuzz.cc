// parse_elf: whatever it accepts keeps the promises of its header comment.
#include <cstdint>

#include "user/runtime/elf.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace keel;  // NOLINT
  const Result<ElfImage> image = parse_elf(std::as_bytes(std::span(data, size)));
  if (!image.has_value()) return 0;
  const auto require = [](bool condition) {
    if (!condition) __builtin_trap();
  };
  u64 end = 0;
  bool entry_found = false;
  for (const ElfSegment& s : image->segments()) {
    require(s.file_offset <= size && s.file_size <= size - s.file_offset && s.file_size <= s.mem_size);
    require(s.vaddr + s.mem_size > s.vaddr && s.first_page() >= end);
    require(!(s.writable && s.executable));
    end = s.end_page();
    entry_found |= s.executable && image->entry >= s.vaddr && image->entry - s.vaddr < s.file_size;
  }
  require(entry_found && end == image->end_page && image->span_bytes() <= kMaxImageBytes);
  return 0;
}
