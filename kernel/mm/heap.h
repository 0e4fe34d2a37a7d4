// KernelHeap: memory for kernel objects. Size classes of slabs, one frame per slab; larger requests take whole frames.
//
// Invariants   I1 an object lies in one frame (or starts one), so its slab is found from its address.
//              I2 a slab is in its class's list exactly while it has a free object and a used one; a slab without used
//                 objects goes back to the frame allocator.
//              I3 in dev and hardened builds a free object is filled with a pattern and a used one ends in a red zone;
//                 both are checked when the object changes hands. On the host AddressSanitizer knows about both.
// Locks        one per class (rank heap), around refill and flush of a CPU's magazine only.
// Costs        O(1): about 20 instructions from the magazine, about 300 for a refill of 8 objects.
// Charges      Resource::kernel_bytes, the size of the class; for a KObject Resource::objects, too. The frames that all
//              this takes are charged to the root group, so that its frames are all that are in use.
#pragma once

#include <array>
#include <new>
#include <utility>

#include "base/result.h"
#include "kernel/core/lock.h"
#include "kernel/features.h"
#include "kernel/mm/frame.h"
#include "kernel/mm/magazines.h"

namespace keel {

class Cpu;
class ResourceGroup;

// The sizes that objects are rounded up to.
struct HeapClasses {
  static constexpr bool kChecked = kParanoidChecks;  // I3
  static constexpr usize kRedZone = kChecked ? 8 : 0;
  static constexpr usize kLargest = 2048;
  static constexpr std::array<u16, Magazines::kClasses> kSizes = {32,  48,  64,  96,  128,  160,  192,
                                                                  256, 384, 512, 768, 1024, 1536, kLargest};
  // By 16 bytes.
  static constexpr auto kClassOf = [](const auto& sizes) {
    std::array<u8, kLargest / 16 + 1> table{};
    u8 size_class = 0;
    for (usize i = 0; i < table.size(); ++i) {
      while (sizes[size_class] < i * 16) ++size_class;
      table[i] = size_class;
    }
    return table;
  }(kSizes);

  static constexpr u32 of(usize bytes) {
    u32 size_class = kClassOf[(bytes + kRedZone + 15) / 16];
    // With its red zone an object of 64 bytes would fall into the one class that cannot align it.
    if (bytes % 64 == 0 && kSizes[size_class] % 64 != 0) ++size_class;
    return size_class;
  }
};

class KernelHeap {
 public:
  static constexpr usize kMaxBytes = 64 * 1024;

  KernelHeap() = default;

  // Aligned to 16 bytes, to 64 where the size is a multiple of 64, contents undefined. Above 2048 bytes: whole frames.
  // Errors: no_memory, quota_exceeded, too_big.
  Result<void*> allocate(Cpu& cpu, ResourceGroup& group, usize bytes);
  // `bytes` as it was asked for.
  void free(Cpu& cpu, ResourceGroup& group, void* memory, usize bytes);
  // allocate(), in line, for what the magazine has and the group may take (kernel/mm/heap_inline.h).
  template <usize Bytes>
  Result<void*> allocate_small(Cpu& cpu, ResourceGroup& group);
  // Frees `memory` without giving its charge back, which the caller does for several at once: the size of one.
  template <usize Bytes>
  static constexpr u64 charge_of();
  template <usize Bytes>
  void free_small_charged(Cpu& cpu, void* memory);
  // Gives this CPU's cached objects back to their slabs.
  void drain(Cpu& cpu);
  // A free object of this CPU's and the class that does not hold its pattern any more (I3): never used again; 0: none.
  PhysAddr take_spoilt(Cpu& cpu, u32 size_class);

  // For make() and destroy_object() of a KObject.
  static Result<void> charge_object(ResourceGroup& group);
  static void uncharge_object(ResourceGroup& group);

 private:
  struct SizeClass {
    SpinLock lock{LockRank::heap, "heap class"};
    u32 partial GUARDED_BY(lock) = Frame::kNone;  // list of slabs with free objects
  };

  // A used object becomes a free one.
  static void close_object(void* object, usize size, usize bytes);
  Result<void*> allocate_frames(Cpu& cpu, ResourceGroup& group, usize bytes);
  bool refill(Cpu& cpu, u32 size_class);
  void flush(Cpu& cpu, u32 size_class, u32 keep);

  SizeClass classes_[Magazines::kClasses];
};

// A new T in memory that `group` pays for.
template <class T, class... A>
Result<T*> make(Cpu& cpu, ResourceGroup& group, A&&... arguments);
// Destroys what make() made. `group` must stay alive meanwhile.
template <class T>
void destroy_object(Cpu& cpu, ResourceGroup& group, T* object);

// The machine's heap, so that this header needs no machine.h.
KernelHeap& heap_of(Cpu& cpu);

// Constructs and destroys on behalf of the two: a class whose constructors are private has this one friend.
class ObjectMaker {
 public:
  template <class T, class... A>
  static T* construct(void* memory, A&&... arguments) {
    return new (memory) T(std::forward<A>(arguments)...);
  }
  template <class T>
  static void destroy(T* object) {
    object->~T();
  }
};

template <class T, class... A>
Result<T*> make(Cpu& cpu, ResourceGroup& group, A&&... arguments) {
  static_assert(sizeof(T) <= KernelHeap::kMaxBytes && (alignof(T) <= 16 || (alignof(T) == 64 && sizeof(T) % 64 == 0)));
  constexpr bool kIsObject = requires { T::kKind; };
  if constexpr (kIsObject) TRY(KernelHeap::charge_object(group));
  Result<void*> memory = heap_of(cpu).allocate(cpu, group, sizeof(T));
  if (!memory.has_value()) {
    if constexpr (kIsObject) KernelHeap::uncharge_object(group);
    return memory.status();
  }
  T* object = ObjectMaker::construct<T>(*memory, std::forward<A>(arguments)...);
  if constexpr (kIsObject) object->set_home(cpu);
  return object;
}

template <class T>
void destroy_object(Cpu& cpu, ResourceGroup& group, T* object) {
  ObjectMaker::destroy(object);
  heap_of(cpu).free(cpu, group, object, sizeof(T));
  if constexpr (requires { T::kKind; }) KernelHeap::uncharge_object(group);
}

}  // namespace keel
