// Memory objects, address spaces.
#include "kernel/syscall/handlers.h"
#include "kernel/syscall/objects.h"
#include "kernel/syscall/scope.h"

namespace keel::sys {
namespace {

constexpr u64 kRead = 1, kWrite = 2, kExecute = 4, kFixed = 8, kPopulate = 16;
constexpr u64 kEager = 1, kContiguous = 2;

Rights rights_for(u64 protection) {
  return Rights(((protection & kRead) != 0 ? rights::memory::read : 0) |
                ((protection & kWrite) != 0 ? rights::memory::write : 0) |
                ((protection & kExecute) != 0 ? rights::memory::execute : 0));
}

Protection protection_of(u64 bits) { return Protection(bits & 7); }

Protection most_allowed(Rights r) {
  return Protection(((r & rights::memory::read) != 0 ? kRead : 0) | ((r & rights::memory::write) != 0 ? kWrite : 0) |
                    ((r & rights::memory::execute) != 0 ? kExecute : 0));
}

// What is left of the range comes with the next entry of the call.
Result<void> go_on(CallContext& c, u64 address, u64 bytes, const Progress& done) {
  if (done.finished) return {};
  c.set_word(0, address + done.bytes);
  c.set_word(1, bytes - done.bytes);
  return Status::restart;
}

}  // namespace

Result<CapIndex> memory_create(CallContext& c, ResourceGroup& group, u64 pages, u64 flags) {
  if (pages == 0) return Status::invalid_argument;
  const bool contiguous = (flags & kContiguous) != 0;
  RefPtr<MemoryObject> memory = std::move(c.thread.unfinished);  // this call's, or of one whose registers were changed
  if (!memory || &memory->group() != &group || memory->pages() != pages || memory->contiguous() != contiguous ||
      memory->is_clone()) {
    memory = contiguous ? TRY(MemoryObject::create_contiguous(c.cpu, group, pages))
                        : TRY(MemoryObject::create_anonymous(c.cpu, group, pages));
  }
  if (const u64 done = memory->committed_pages(); (flags & kEager) != 0 && done < pages) {
    if (done + TRY(memory->commit(c.cpu, done, pages - done)) < pages) {
      c.thread.unfinished = std::move(memory);
      return Status::restart;
    }
  }
  return c.publish(memory);
}

Result<MemoryInfoResult> memory_info(CallContext& c, MemoryObject& memory) {
  ScopeRange window = ScopeRange::of(c.target().scope, memory.pages());
  return MemoryInfoResult{window.count, memory.contiguous() ? window.count : memory.committed_pages(),
                          u64(memory.form())};
}

Result<CapIndex> memory_clone(CallContext& c, MemoryObject& memory, ResourceGroup& group) {
  if (c.target().scope != 0) return Status::missing_right;
  RefPtr<MemoryObject> clone = std::move(c.thread.unfinished);
  if (!clone || !clone->is_clone_of(memory) || &clone->group() != &group) {
    clone = TRY(MemoryObject::create_clone(c.cpu, group, memory));
  }
  if (const Status status = memory.clone_into(c.cpu, *clone).status(); status != Status::ok) {
    if (status == Status::restart) c.thread.unfinished = std::move(clone);
    return status;
  }
  return c.publish(clone);
}

Result<u64> space_map(CallContext& c, AddressSpace& space, u64 memory, u64 first_page, u64 pages, u64 protection,
                      u64 address) {
  CapSlot* slot = TRY(c.caps().find(CapIndex(memory), ObjectKind::memory, rights_for(protection)));
  auto& object = static_cast<MemoryObject&>(*slot->object);
  ScopeRange window = ScopeRange::of(slot->scope, object.pages());
  if (first_page > window.count || pages > window.count - first_page) return Status::out_of_range;
  VirtAddr at = TRY(space.map(c.cpu, {.memory = object,
                                      .parent = slot->node(),
                                      .first_page = window.first + first_page,
                                      .pages = pages,
                                      .prot = protection_of(protection),
                                      .max = most_allowed(CapSlot::rights(slot->load())),
                                      .at = VirtAddr(address),
                                      .fixed = (protection & kFixed) != 0}));
  if ((protection & kPopulate) != 0) {
    // Only a hint: what cannot be had now, and all but the first few, is had, or fails, when it is touched.
    (void)space.populate(c.cpu, at, pages * kPageSize);
  }
  return at.value;
}

Result<void> space_unmap(CallContext& c, AddressSpace& space, u64 address, u64 bytes) {
  return go_on(c, address, bytes, TRY(space.unmap(c.cpu, VirtAddr(address), bytes)));
}

Result<void> space_protect(CallContext& c, AddressSpace& space, u64 address, u64 bytes, u64 protection) {
  return go_on(c, address, bytes, TRY(space.protect(c.cpu, VirtAddr(address), bytes, protection_of(protection))));
}

}  // namespace keel::sys
