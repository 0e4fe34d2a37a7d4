// DmaDomain: the memory that one device may reach. Pages are pinned when they are mapped, and stay pinned (quarantined)
// until dma_release, whatever becomes of the memory object, its capabilities and the driver: without an IOMMU only
// stopping the device makes them safe to reuse.
//
// Invariants   I1 every mapping holds a reference to its memory object and `pages` pins.
//              I2 a mapping is in unfinished_ from the first entry of its call to the last. One whose call ends before,
//                 since its thread or a capability goes, stays there until dma_release.
// Lifetime     when the last capability goes without dma_release, the pages stay pinned for ever: the device may still
//              write to them. The device manager's successor therefore gets the capability
//              (docs/subsystems/devices.md).
#pragma once

#include "kernel/cap/node.h"
#include "kernel/mm/memory_object.h"

namespace keel {

struct DmaMapping {
  DmaMapping* next = nullptr;
  RefPtr<MemoryObject> memory;
  u64 first = 0;
  u64 pages = 0;   // pinned so far
  u64 wanted = 0;  // in the end
  u64 thread = 0;  // who makes it
  Status failed = Status::ok;
  CapNode node;
};

class DmaDomain final : public KObject {
 public:
  static constexpr ObjectKind kKind = ObjectKind::dma_domain;
  static constexpr u64 kMaxPages = 448;
  static Result<RefPtr<DmaDomain>> create(Cpu& cpu, ResourceGroup& group);

  // Pins pages of `memory` through the capability `parent` for a call of `thread` and writes their addresses to `out`.
  // Errors: restart (some are done, or given back), out_of_range, no_memory, quota_exceeded, revoked, too_deep. Nothing
  // stays pinned then.
  Result<void> map(Cpu& cpu, u64 thread, MemoryObject& memory, CapNode& parent, u64 first, u64 pages, u64* out);
  // Unpins everything, some at a time; true when nothing is left.
  bool release_some(Cpu& cpu);

 private:
  friend class ObjectMaker;
  explicit DmaDomain(ResourceGroup& group) : KObject(ObjectKind::dma_domain, group) {}
  void destroy(Cpu& cpu) override;

  void remove(Cpu& cpu, DmaMapping*& mapping);
  // Unpins some of the last pages. True: none is left, the mapping is gone from its list.
  bool shrink(Cpu& cpu, DmaMapping*& mapping);

  DmaMapping* mappings_ = nullptr;
  DmaMapping* unfinished_ = nullptr;
};

}  // namespace keel
