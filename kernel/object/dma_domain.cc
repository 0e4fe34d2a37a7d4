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
  while (DmaMapping*& first = unfinished_ != nullptr ? unfinished_ : mappings_) {
    (void)first->memory.release();
    remove(cpu, first);
  }
  destroy_object(cpu, group(), this);
}

void DmaDomain::remove(Cpu& cpu, DmaMapping*& mapping) {
  DmaMapping* const gone = mapping;
  mapping = gone->next;
  (void)unlink(cpu, gone->node);  // false: a revocation took the node; the pins were still ours
  destroy_object(cpu, group(), gone);
}

Result<void> DmaDomain::map(Cpu& cpu, u64 thread, MemoryObject& memory, CapNode& parent, u64 first, u64 pages,
                            u64* out) {
  if (pages == 0 || pages > kMaxPages) return Status::invalid_argument;
  if (first > memory.pages() || pages > memory.pages() - first) return Status::out_of_range;
  DmaMapping** at = &unfinished_;
  while (*at != nullptr && ((*at)->thread != thread || (*at)->memory.get() != &memory || (*at)->first != first ||
                            (*at)->wanted != pages)) {
    at = &(*at)->next;
  }
  if (*at == nullptr) {
    DmaMapping* const made = TRY(make<DmaMapping>(cpu, group()));
    made->node.holder = made;
    if (Status linked = link_child(cpu, memory, &parent, made->node, NodeKind::dma).status(); linked != Status::ok) {
      destroy_object(cpu, group(), made);
      return linked;
    }
    made->memory = RefPtr<MemoryObject>(memory);
    made->first = first;
    made->wanted = pages;
    made->thread = thread;
    *at = made;  // the last
  }
  DmaMapping* const m = *at;
  if (m->failed == Status::ok) {
    Result<u64> pinned = memory.pin(cpu, first + m->pages, pages - m->pages, out + m->pages);
    m->failed = pinned.status();
    if (pinned.has_value()) {
      m->pages += *pinned;
      if (m->pages < pages) return Status::restart;
      *at = m->next;
      m->next = mappings_;
      mappings_ = m;
      return {};
    }
  }
  const Status failed = m->failed;
  return shrink(cpu, *at) ? failed : Status::restart;
}

bool DmaDomain::shrink(Cpu& cpu, DmaMapping*& mapping) {
  DmaMapping& m = *mapping;
  const u64 some = m.pages < MemoryObject::kPinBatch ? m.pages : MemoryObject::kPinBatch;
  m.pages -= m.memory->unpin(cpu, m.first + m.pages - some, some);
  if (m.pages != 0) return false;
  remove(cpu, mapping);
  return true;
}

bool DmaDomain::release_some(Cpu& cpu) {
  DmaMapping*& first = unfinished_ != nullptr ? unfinished_ : mappings_;
  if (first != nullptr) (void)shrink(cpu, first);
  return unfinished_ == nullptr && mappings_ == nullptr;
}

}  // namespace keel
