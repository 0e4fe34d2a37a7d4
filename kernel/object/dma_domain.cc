#include "kernel/object/dma_domain.h"

#include "kernel/cap/tree.h"
#include "kernel/core/cpu.h"
#include "kernel/mm/heap.h"

namespace keel {

Result<RefPtr<DmaDomain>> DmaDomain::create(Cpu& cpu, ResourceGroup& group) {
  return RefPtr<DmaDomain>::adopt(TRY(make<DmaDomain>(cpu, group, group)));
}

void DmaDomain::destroy(Cpu& cpu) {
  // I1 and "Lifetime": mappings that nobody can release any more are left pinned; only the records go.
  while (DmaMapping* m = mappings_) {
    mappings_ = m->next;
    (void)unlink(cpu, m->node);
    (void)m->memory.release();
    destroy_object(cpu, group(), m);
  }
  destroy_object(cpu, group(), this);
}

Result<void> DmaDomain::map(Cpu& cpu, MemoryObject& memory, CapNode& parent, u64 first, u64 pages, u64* out) {
  if (pages == 0 || pages > kMaxPages) return Status::invalid_argument;
  if (first > memory.pages() || pages > memory.pages() - first) return Status::out_of_range;
  DmaMapping* mapping = TRY(make<DmaMapping>(cpu, group()));
  mapping->memory = RefPtr<MemoryObject>(memory);
  mapping->first = first;
  Status failed = Status::ok;
  while (mapping->pages < pages) {
    Result<u64> pinned = memory.pin(cpu, first + mapping->pages, pages - mapping->pages);
    if (!pinned.has_value()) {
      failed = pinned.status();
      break;
    }
    mapping->pages += *pinned;
  }
  for (u64 i = 0; failed == Status::ok && i < pages; ++i) {
    Result<PhysAddr> page = memory.existing_page(cpu, first + i);
    failed = page.status();
    if (page.has_value()) out[i] = page->value;
  }
  mapping->node.holder = mapping;
  if (failed == Status::ok) failed = link_child(cpu, memory, &parent, mapping->node, NodeKind::dma).status();
  if (failed != Status::ok) {
    for (u64 done = 0; done < mapping->pages;) done += memory.unpin(cpu, first + done, mapping->pages - done);
    destroy_object(cpu, group(), mapping);
    return failed;
  }
  mapping->next = mappings_;
  mappings_ = mapping;
  return {};
}

bool DmaDomain::release_some(Cpu& cpu) {
  DmaMapping* m = mappings_;
  if (m == nullptr) return true;
  u64 done = m->memory->unpin(cpu, m->first, m->pages);
  m->first += done;
  m->pages -= done;
  if (m->pages == 0) {
    mappings_ = m->next;
    (void)unlink(cpu, m->node);  // false: a revocation took the node; the pins were still ours
    destroy_object(cpu, group(), m);
  }
  return mappings_ == nullptr;
}

}  // namespace keel
