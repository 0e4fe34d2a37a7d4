#include "kernel/platform/boot_info.h"

namespace keel {

u64 BootInfo::usable_bytes() const {
  u64 total = 0;
  for (const MemoryRange& range : memory()) {
    if (range.kind == MemoryKind::usable) total += range.length;
  }
  return total;
}

void BootInfo::add_memory(MemoryRange range) {
  u64 end = 0;
  if (range.length == 0 || !checked_add(range.base.value, range.length, &end)) return;
  if (range_count_ == kMaxMemoryRanges) {
    ++dropped_ranges_;
    return;
  }
  usize place = range_count_++;
  for (; place > 0 && ranges_[place - 1].base > range.base; --place) ranges_[place] = ranges_[place - 1];
  ranges_[place] = range;
}

void BootInfo::set_command_line(std::string_view text) {
  command_line_length_ = text.size() < kMaxCommandLine ? text.size() : kMaxCommandLine;
  for (usize i = 0; i < command_line_length_; ++i) command_line_[i] = text[i];
}

}  // namespace keel
