// EarlyAllocator: pages for the boot code's own tables, before the frame allocator exists. Takes them from the top of
// the largest usable range below 4 GiB, which every boot path maps.
//
// Lifetime     what it has handed out is never freed: used() tells FrameAllocator::initialise() to leave it alone.
#pragma once

#include <span>

#include "kernel/mm/frames.h"
#include "kernel/platform/boot_info.h"

namespace keel {

class EarlyAllocator {
 public:
  explicit EarlyAllocator(const BootInfo& boot);

  // One zeroed page, reached through phys_to_virt(). Errors: no_memory.
  Result<PhysAddr> take();
  PhysRange used() const { return {PhysAddr(next_), end_ - next_}; }

 private:
  u64 floor_ = 0;
  u64 next_ = 0;
  u64 end_ = 0;
};

// What FrameAllocator::initialise() needs, from the firmware's memory map: the RAM, and what of it is taken (the first
// MiB, the kernel image, the boot module, the early page tables).
struct MemoryLayout {
  static constexpr u32 kMaxInUse = 4;
  PhysRange ram[BootInfo::kMaxMemoryRanges];
  u32 ram_count = 0;
  PhysRange in_use[kMaxInUse];
  u32 in_use_count = 0;
};
MemoryLayout memory_layout(const BootInfo& boot, const EarlyAllocator* early);

}  // namespace keel
