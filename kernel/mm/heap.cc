#include "kernel/mm/heap.h"

#include <arch/memory.h>
#include <arch/sanitizer.h>

#include <bit>
#include <cstring>

#include "kernel/core/machine.h"

namespace keel {
namespace {

constexpr bool kChecked = HeapClasses::kChecked;
constexpr usize kRedZone = HeapClasses::kRedZone;
constexpr auto& kSizes = HeapClasses::kSizes;
constexpr usize kLargest = HeapClasses::kLargest;
constexpr u64 kGuard = 0x9d3c'b157'e40a'62f5;
constexpr u8 kFreePattern = 0xdf;
constexpr usize kLink = 8;  // bytes at the start of a free object that hold the list, not the pattern

u8* bytes_of(void* object) { return static_cast<u8*>(object); }

bool holds_pattern(const void* object, usize size) {
  constexpr u64 kWord = kFreePattern * (~u64{0} / 0xff);
  for (usize i = kLink; i < size; i += sizeof(kWord)) {
    u64 word;
    __builtin_memcpy(&word, static_cast<const u8*>(object) + i, sizeof(word));
    if (word != kWord) return false;
  }
  return true;
}

// A free object becomes a used one of `bytes`.
void open(void* object, usize size, usize bytes) {
  arch::unpoison(object, size);
  if constexpr (kChecked) {
    if (!holds_pattern(object, size)) __builtin_trap();  // written to after it was freed
    std::memcpy(bytes_of(object) + bytes, &kGuard, kRedZone);
    arch::poison(bytes_of(object) + bytes, size - bytes);
  }
}

// The reverse.
void close(void* object, usize size, usize bytes) {
  if constexpr (kChecked) {
    arch::unpoison(object, size);
    // Overrun, or freed twice (the guard is gone then).
    if (std::memcmp(bytes_of(object) + bytes, &kGuard, kRedZone) != 0) __builtin_trap();
    std::memset(object, kFreePattern, size);
  }
  arch::poison(object, size);
}

// The list of free objects in a slab: each holds the index of the next plus one.
u16 read_link(void* object) {
  u16 link;
  arch::unpoison(object, kLink);
  __builtin_memcpy(&link, object, sizeof(link));  // no call
  arch::poison(object, kLink);
  return link;
}
void write_link(void* object, u16 link) {
  arch::unpoison(object, kLink);
  __builtin_memcpy(object, &link, sizeof(link));
  arch::poison(object, kLink);
}

u32 order_of(usize bytes) { return u32(std::bit_width((bytes - 1) >> kPageShift)); }

}  // namespace

KernelHeap& heap_of(Cpu& cpu) { return cpu.machine.heap; }

Result<void> KernelHeap::charge_object(ResourceGroup& group) { return group.charge(Resource::objects, 1); }
void KernelHeap::uncharge_object(ResourceGroup& group) { group.uncharge(Resource::objects, 1); }

Result<void*> KernelHeap::allocate(Cpu& cpu, ResourceGroup& group, usize bytes) {
  if (bytes > kLargest - kRedZone) return allocate_frames(cpu, group, bytes);
  const u32 size_class = HeapClasses::of(bytes);
  const usize size = kSizes[size_class];
  if (cpu.machine.faults.should_fail()) return Status::no_memory;
  TRY(group.charge(Resource::kernel_bytes, size));
  Magazines::Bin& bin = cpu.magazines.bins_[size_class];
  if (bin.count == 0 && !refill(cpu, size_class)) {
    group.uncharge(Resource::kernel_bytes, size);
    return Status::no_memory;
  }
  void* object = bin.objects[--bin.count];
  open(object, size, bytes);
  return object;
}

void KernelHeap::free(Cpu& cpu, ResourceGroup& group, void* memory, usize bytes) {
  if (bytes > kLargest - kRedZone) {
    Frame* frame = cpu.machine.frames.frame(virt_to_phys(memory));
    const usize size = kPageSize << frame->order;
    cpu.machine.frames.free(cpu, cpu.machine.root_group(), frame);
    group.uncharge(Resource::kernel_bytes, size);
    return;
  }
  const u32 size_class = HeapClasses::of(bytes);
  const usize size = kSizes[size_class];
  close(memory, size, bytes);
  Magazines::Bin& bin = cpu.magazines.bins_[size_class];
  if (bin.count == Magazines::kObjects) flush(cpu, size_class, Magazines::kObjects / 2);
  bin.objects[bin.count++] = memory;
  group.uncharge(Resource::kernel_bytes, size);
}

PhysAddr KernelHeap::take_spoilt(Cpu& cpu, u32 size_class) {
  Magazines::Bin& bin = cpu.magazines.bins_[size_class];
  const usize size = kSizes[size_class];
  // Of large objects not all: a step is bounded.
  for (u32 i = 0; i < bin.count && i * size < kLargest; ++i) {
    void* object = bin.objects[i];
    arch::unpoison(object, size);
    const bool good = holds_pattern(object, size);
    arch::poison(object, size);
    if (good) continue;
    bin.objects[i] = bin.objects[--bin.count];
    return virt_to_phys(object);
  }
  return PhysAddr(0);
}

void KernelHeap::close_object(void* object, usize size, usize bytes) { close(object, size, bytes); }

Result<void*> KernelHeap::allocate_frames(Cpu& cpu, ResourceGroup& group, usize bytes) {
  if (bytes > kMaxBytes) return Status::too_big;
  const u32 order = order_of(bytes);
  const usize size = kPageSize << order;
  TRY(group.charge(Resource::kernel_bytes, size));
  Result<Frame*> frame = cpu.machine.frames.allocate(cpu, cpu.machine.root_group(), order, FrameUse::kernel);
  if (!frame.has_value()) {
    group.uncharge(Resource::kernel_bytes, size);
    return frame.error();
  }
  return phys_to_virt(cpu.machine.frames.address(*frame));
}

// Moves up to half a magazine of free objects to this CPU. False if there is not even one.
bool KernelHeap::refill(Cpu& cpu, u32 size_class) {
  FrameAllocator& frames = cpu.machine.frames;
  SizeClass& c = classes_[size_class];
  Magazines::Bin& bin = cpu.magazines.bins_[size_class];
  const usize size = kSizes[size_class];
  LockGuard guard(cpu, c.lock);
  while (bin.count < Magazines::kObjects / 2) {
    if (c.partial == Frame::kNone) {
      if (bin.count > 0) break;  // enough for now; do not grow for more
      Result<Frame*> fresh = frames.allocate(cpu, cpu.machine.root_group(), 0, FrameUse::kernel);
      if (!fresh.has_value()) return false;
      Frame* frame = *fresh;
      frame->size_class = u8(size_class);
      frame->next = frame->previous = Frame::kNone;
      frame->slab = {.free_head = 1, .used = 0};
      u8* page = bytes_of(phys_to_virt(frames.address(frame)));
      if constexpr (kChecked) std::memset(page, kFreePattern, kPageSize);
      const u16 capacity = u16(kPageSize / size);
      arch::poison(page, kPageSize);
      for (u16 i = 0; i < capacity; ++i) write_link(page + i * size, i + 1 < capacity ? u16(i + 2) : u16(0));
      c.partial = frames.index(frame);
    }
    Frame& slab = frames.at(c.partial);
    u8* page = bytes_of(phys_to_virt(frames.address(&slab)));
    while (slab.slab.free_head != 0 && bin.count < Magazines::kObjects / 2) {
      void* object = page + (slab.slab.free_head - 1u) * size;
      slab.slab.free_head = read_link(object);
      ++slab.slab.used;
      bin.objects[bin.count++] = object;
    }
    if (slab.slab.free_head == 0) {  // full: leaves the list (I2)
      c.partial = slab.next;
      if (slab.next != Frame::kNone) frames.at(slab.next).previous = Frame::kNone;
      slab.next = Frame::kNone;
    }
  }
  return true;
}

// Returns all but `keep` objects of this CPU's magazine to their slabs.
void KernelHeap::flush(Cpu& cpu, u32 size_class, u32 keep) {
  FrameAllocator& frames = cpu.machine.frames;
  SizeClass& c = classes_[size_class];
  Magazines::Bin& bin = cpu.magazines.bins_[size_class];
  const usize size = kSizes[size_class];
  LockGuard guard(cpu, c.lock);
  while (bin.count > keep) {
    void* object = bin.objects[--bin.count];
    const PhysAddr address = virt_to_phys(object);
    Frame& slab = *frames.frame(address);
    const bool was_full = slab.slab.free_head == 0;
    write_link(object, slab.slab.free_head);
    slab.slab.free_head = u16((address.value & (kPageSize - 1)) / size + 1);
    --slab.slab.used;
    if (was_full) {
      slab.previous = Frame::kNone;
      slab.next = c.partial;
      if (slab.next != Frame::kNone) frames.at(slab.next).previous = frames.index(&slab);
      c.partial = frames.index(&slab);
    }
    if (slab.slab.used == 0) {
      if (slab.next != Frame::kNone) frames.at(slab.next).previous = slab.previous;
      (slab.previous != Frame::kNone ? frames.at(slab.previous).next : c.partial) = slab.next;
      frames.free(cpu, cpu.machine.root_group(), &slab);
    }
  }
}

void KernelHeap::drain(Cpu& cpu) {
  for (u32 i = 0; i < Magazines::kClasses; ++i) flush(cpu, i, 0);
}

}  // namespace keel
