// Allocation in line, for the few places where each instruction counts (kernel/cap/space_inline.h).
#pragma once

#include "kernel/core/machine.h"

namespace keel {

template <usize Bytes>
constexpr u64 KernelHeap::charge_of() {
  return HeapClasses::kSizes[HeapClasses::of(Bytes)];
}

template <usize Bytes>
[[gnu::always_inline]] inline Result<void*> KernelHeap::allocate_small(Cpu& cpu, ResourceGroup& group) {
  static_assert(Bytes <= HeapClasses::kLargest - HeapClasses::kRedZone);
  Magazines::Bin& bin = cpu.magazines.bins_[HeapClasses::of(Bytes)];
  const u32 count = bin.count;
  if (HeapClasses::kChecked || count == 0) [[unlikely]]
    return allocate(cpu, group, Bytes);
  TRY(group.charge(Resource::kernel_bytes, charge_of<Bytes>()));
  bin.count = count - 1;
  return bin.objects[count - 1];
}

template <usize Bytes>
[[gnu::always_inline]] inline void KernelHeap::free_small_charged(Cpu& cpu, void* memory) {
  constexpr u32 kClass = HeapClasses::of(Bytes);
  if constexpr (HeapClasses::kChecked) close_object(memory, charge_of<Bytes>(), Bytes);
  Magazines::Bin& bin = cpu.magazines.bins_[kClass];
  if (bin.count == Magazines::kObjects) [[unlikely]]
    flush(cpu, kClass, Magazines::kObjects / 2);
  bin.objects[bin.count++] = memory;
}

}  // namespace keel
