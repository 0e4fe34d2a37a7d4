// BootInfo: what the boot code learned about the machine, in terms that hold for every way of booting.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "base/types.h"

namespace keel {

enum class MemoryKind : u8 {
  usable,
  reserved,
  acpi_reclaimable,
  acpi_nvs,
  unusable,
  persistent,
};

struct MemoryRange {
  PhysAddr base;
  u64 length = 0;
  MemoryKind kind = MemoryKind::reserved;
};

struct BootModule {
  PhysAddr base;
  u64 length = 0;  // 0: there is none
};

// Invariants   I1 memory() is sorted by base and holds no empty range.
//              I2 command_line() is a copy and at most kMaxCommandLine bytes long.
class BootInfo {
 public:
  static constexpr usize kMaxMemoryRanges = 64;
  static constexpr usize kMaxCommandLine = 1024;

  std::span<const MemoryRange> memory() const { return std::span(ranges_).first(range_count_); }
  // Ranges that found no room in memory().
  u32 dropped_ranges() const { return dropped_ranges_; }
  u64 usable_bytes() const;
  // Ignores an empty range and one that wraps around the end of the address space (I1).
  void add_memory(MemoryRange range);

  std::string_view command_line() const { return {command_line_.data(), command_line_length_}; }
  // Keeps the first kMaxCommandLine bytes (I2).
  void set_command_line(std::string_view text);

  BootModule module;
  PhysAddr rsdp;  // ACPI root pointer; 0: there is none
  MemoryRange kernel_image;
  u64 kernel_slide = 0;  // how far the kernel runs above the address it was linked for
  u64 entry_tsc = 0;     // time stamp counter at the first instruction
  // Unpredictable where the machine has a random generator, reproducible with the boot option seed=N.
  std::array<u64, 4> entropy{};

 private:
  std::array<MemoryRange, kMaxMemoryRanges> ranges_{};
  usize range_count_ = 0;
  u32 dropped_ranges_ = 0;
  std::array<char, kMaxCommandLine> command_line_{};
  usize command_line_length_ = 0;
};

// The portable kernel starts here, on the boot CPU, with interrupts off; all other CPUs are parked.
[[noreturn]] void kernel_main(BootInfo& boot);

}  // namespace keel
