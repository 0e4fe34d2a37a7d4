#include "kernel/platform/early.h"

#include <arch/memory.h>

namespace keel {
namespace {

constexpr u64 kLowMemory = u64{1} << 20;  // firmware tables, and where other CPUs start
constexpr u64 kMappedAtBoot = u64{4} << 30;

}  // namespace

EarlyAllocator::EarlyAllocator(const BootInfo& boot) {
  const PhysRange taken[] = {{boot.kernel_image.base, boot.kernel_image.length},
                             {boot.module.base, boot.module.length}};
  for (const MemoryRange& range : boot.memory()) {
    if (range.kind != MemoryKind::usable) continue;
    u64 floor = align_up(range.base.value, kPageSize);
    u64 end = align_down(range.base.value + range.length, kPageSize);
    if (floor < kLowMemory) floor = kLowMemory;
    if (end > kMappedAtBoot) end = kMappedAtBoot;
    // Above whatever is taken in this range, or else below it.
    for (const PhysRange& t : taken) {
      if (t.bytes == 0 || t.end().value <= floor || end <= t.base.value) continue;
      const u64 above = align_up(t.end().value, kPageSize);
      const u64 below = align_down(t.base.value, kPageSize);
      if (above < end && end - above >= (below > floor ? below - floor : 0)) {
        floor = above;
      } else {
        end = below;
      }
    }
    if (end > floor && end - floor > end_ - floor_) {
      floor_ = floor;
      end_ = end;
    }
  }
  next_ = end_;
}

Result<PhysAddr> EarlyAllocator::take() {
  if (next_ == floor_) return Status::no_memory;
  next_ -= kPageSize;
  arch::zero_page(phys_to_virt(PhysAddr(next_)));
  return PhysAddr(next_);
}

MemoryLayout memory_layout(const BootInfo& boot, const EarlyAllocator* early) {
  MemoryLayout layout;
  for (const MemoryRange& range : boot.memory()) {
    if (range.kind == MemoryKind::usable) layout.ram[layout.ram_count++] = {range.base, range.length};
  }
  const auto in_use = [&layout](PhysRange range) {
    if (range.bytes != 0) layout.in_use[layout.in_use_count++] = range;
  };
  in_use({PhysAddr(0), kLowMemory});
  in_use({boot.kernel_image.base, boot.kernel_image.length});
  in_use({boot.module.base, boot.module.length});
  if (early != nullptr) in_use(early->used());
  return layout;
}

}  // namespace keel
