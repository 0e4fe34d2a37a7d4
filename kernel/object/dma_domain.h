// DmaDomain: the memory that one device may reach. Pages are pinned when they are mapped, and stay pinned (quarantined)
// until dma_release, whatever becomes of the memory object, its capabilities and the driver: without an IOMMU only
// stopping the device makes them safe to reuse.
//
// Invariants   I1 every mapping in the list holds a reference to its memory object and `pages` pins.
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
  u64 pages = 0;
  CapNode node;
};

class DmaDomain final : public KObject {
 public:
  static constexpr ObjectKind kKind = ObjectKind::dma_domain;
  static constexpr u64 kMaxPages = 448;
  static Result<RefPtr<DmaDomain>> create(Cpu& cpu, ResourceGroup& group);

  // Pins pages of `memory` through the capability `parent` and writes their addresses to `out`.
  // Errors: out_of_range, no_memory, quota_exceeded, revoked, too_deep. Nothing stays pinned then.
  Result<void> map(Cpu& cpu, MemoryObject& memory, CapNode& parent, u64 first, u64 pages, u64* out);
  // Unpins everything, some at a time; true when nothing is left.
  bool release_some(Cpu& cpu);

 private:
  friend class ObjectMaker;
  explicit DmaDomain(ResourceGroup& group) : KObject(ObjectKind::dma_domain, group) {}
  void destroy(Cpu& cpu) override;

  DmaMapping* mappings_ = nullptr;
};

}  // namespace keel
