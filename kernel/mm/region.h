// Region: a window of an address space onto pages of a memory object. What becomes of it is told in address_space.h.
//
// Locks        the space's; `of_memory` belongs to the object (memory_object.h I5).
#pragma once

#include "base/intrusive_list.h"
#include "base/intrusive_tree.h"
#include "kernel/cap/node.h"
#include "kernel/mm/protection.h"

namespace keel {

class AddressSpace;
class MemoryObject;

struct Region {
  [[no_unique_address]] TreeHook hook;  // the next three lie in its padding
  Protection prot = Protection::none;
  Protection max = Protection::none;
  bool orphan = false;  // the owner has let go of it; a revocation will free it
  VirtAddr start;
  u64 pages = 0;
  RefPtr<MemoryObject> memory;
  u64 first_page = 0;  // of the object, at `start`
  AddressSpace* space = nullptr;
  Region* next = nullptr;  // list of regions to be freed, or of orphans
  ListHook of_memory;
  CapNode node;

  VirtAddr end() const { return start + pages * kPageSize; }
};

}  // namespace keel
