#include "kernel/mm/address_space.h"

#include <arch/page_table.h>

#include "kernel/cap/tree.h"
#include "kernel/core/machine.h"

namespace keel {
namespace {

constexpr u32 kPlacementTries = 64;
constexpr u32 kMaxProtectRegions = 64;
constexpr u32 kPopulatePages = 4;
constexpr i32 kRegionCost = 64;  // in units of Budget

// True if [at, at + bytes) is a range of whole pages of user memory.
Status check_range(VirtAddr at, u64 bytes) {
  if (!is_aligned(at.value, kPageSize) || !is_aligned(bytes, kPageSize)) return Status::misaligned;
  u64 end = 0;
  if (!checked_add(at.value, bytes, &end) || at < kUserBase || VirtAddr(end) > kUserEnd) return Status::bad_address;
  return Status::ok;
}

}  // namespace

struct AddressSpace::Graveyard {
  Region* first = nullptr;
  void add(Region& region) {
    region.next = first;
    first = &region;
  }
};

AddressSpace::AddressSpace(ResourceGroup& group, u64 layout_seed)
    : KObject(ObjectKind::address_space, group), random_(layout_seed) {}

Result<RefPtr<AddressSpace>> AddressSpace::create(Cpu& cpu, ResourceGroup& group, u64 layout_seed) {
  auto space = RefPtr<AddressSpace>::adopt(TRY(make<AddressSpace>(cpu, group, group, layout_seed)));
  LockGuard guard(cpu, space->lock_);
  TRY(space->tables_.initialise(cpu, group));
  // Regions go from a random place in the middle of the lower half upwards: 28 bits, and dense page tables.
  space->next_ = VirtAddr((u64{1} << 44) + ((space->random() & 0x0fff'ffff) << 16));
  return space;
}

void AddressSpace::destroy(Cpu& cpu) {
  const RefPtr<ResourceGroup> payer(group());
  {
    LockGuard guard(cpu, lock_);
    tables_.destroy(cpu, *payer);
  }
  destroy_object(cpu, *payer, this);
}

// Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
u64 AddressSpace::random() {
  u64 z = (random_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

Region* AddressSpace::find(VirtAddr at) {
  if (recent_ != nullptr && recent_->start <= at && at < recent_->end()) return recent_;
  Region* region = regions_.last_not_above(at);
  if (region == nullptr || at >= region->end()) return nullptr;
  recent_ = region;
  return region;
}

Region* AddressSpace::first_after(VirtAddr at) {
  Region* region = find(at);
  return region != nullptr ? region : regions_.lower_bound(at);
}

bool AddressSpace::is_free(VirtAddr first, VirtAddr end) {
  if (first < kUserBase || end > kUserEnd || end < first) return false;
  const Region* region = first_after(first);
  return region == nullptr || region->start >= end;
}

Result<VirtAddr> AddressSpace::choose(const MapRequest& request, u64 alignment) {
  const u64 bytes = request.pages * kPageSize;
  const u64 guard = request.guard_pages * kPageSize;
  if (request.at != VirtAddr() && is_free(VirtAddr(request.at.value - guard), request.at + bytes + guard)) {
    return request.at;
  }
  const auto aligned = [alignment](u64 address) { return VirtAddr(align_up(address, alignment)); };
  VirtAddr at = aligned(next_.value + guard + random() % 16 * kPageSize);
  for (u32 i = 0; i < kPlacementTries && at + bytes + guard <= kUserEnd; ++i) {
    const Region* region = first_after(VirtAddr(at.value - guard));
    if (region == nullptr || region->start >= at + bytes + guard) return at;
    at = aligned(region->end().value + guard);
  }
  const u64 room = kUserEnd - kUserBase - bytes - 2 * guard;  // map() has checked that this is positive
  for (u32 i = 0; i < kPlacementTries; ++i) {
    at = aligned(kUserBase.value + guard + random() % (room / kPageSize + 1) * kPageSize);
    if (is_free(VirtAddr(at.value - guard), at + bytes + guard)) return at;
  }
  return Status::no_memory;
}

Result<VirtAddr> AddressSpace::map(Cpu& cpu, const MapRequest& request) {
  const u64 space_pages = (kUserEnd - kUserBase) / kPageSize;
  if (request.pages == 0 || !is_mappable(request.prot) || !within(request.prot, request.max)) {
    return Status::invalid_argument;
  }
  if (request.first_page > request.memory.pages() || request.pages > request.memory.pages() - request.first_page) {
    return Status::out_of_range;
  }
  if (request.pages > space_pages || request.guard_pages > (space_pages - request.pages) / 2)
    return Status::bad_address;
  const u64 bytes = request.pages * kPageSize;
  if (request.fixed || request.at != VirtAddr()) {
    if (!is_aligned(request.at.value, kPageSize)) return Status::misaligned;
    if (request.fixed) TRY(Result<void>(check_range(request.at, bytes)));
  }
  Region* region = TRY(make<Region>(cpu, group()));
  region->pages = request.pages;
  region->memory = RefPtr<MemoryObject>(request.memory);
  region->first_page = request.first_page;
  region->space = this;
  region->prot = request.prot;
  region->max = request.max;
  region->node.holder = region;
  const auto place = [&]() REQUIRES(lock_) -> Result<VirtAddr> {
    if (closing_) return Status::bad_state;
    VirtAddr at = request.at;
    if (request.fixed) {
      if (!is_free(at, at + bytes)) return Status::bad_address;
    } else {
      at = TRY(choose(request, request.pages >= kLargePages ? kLargePageSize : kPageSize));
    }
    TRY(link_child(cpu, request.memory, request.parent, region->node, NodeKind::region));
    region->start = at;
    regions_.insert(*region);
    request.memory.add(cpu, *region);
    if (!request.fixed && at != request.at) next_ = at + bytes;
    mapped_pages_.fetch_add(request.pages, kRelaxed);
    return at;
  };
  Result<VirtAddr> placed = Status::ok;
  {
    LockGuard guard(cpu, lock_);
    placed = place();
  }
  if (!placed.has_value()) destroy_object(cpu, group(), region);
  return placed;
}

// Makes [at, end) of `region` a region of its own, in memory that the caller has allocated.
Result<void> AddressSpace::split(Cpu& cpu, Region& region, VirtAddr at, Region*& spare) {
  Region& right = *spare;
  const u64 left_pages = (at - region.start) / kPageSize;
  right.start = at;
  right.pages = region.pages - left_pages;
  right.memory = region.memory;
  right.first_page = region.first_page + left_pages;
  right.space = this;
  right.prot = region.prot;
  right.max = region.max;
  right.node.holder = &right;
  // From here on a revocation may find it, and reads `space` without our lock.
  TRY(link_sibling(cpu, region.node, right.node));
  spare = nullptr;
  region.pages = left_pages;
  regions_.insert(right);
  right.memory->add(cpu, right);
  return Status::ok;
}

void AddressSpace::detach(Cpu& cpu, Region& region, Graveyard& dead) {
  regions_.erase(region);
  if (recent_ == &region) recent_ = nullptr;
  if (unlink(cpu, region.node)) {
    dead.add(region);
  } else {
    region.orphan = true;
    region.next = orphan_list_;
    orphan_list_ = &region;
    ++orphans_;
  }
}

// Takes [region.start, end) away from the region, from the front and as far as the budget goes. True if all of it went;
// the region is gone if nothing is left.
bool AddressSpace::unmap_some(Cpu& cpu, Region& region, VirtAddr end, TlbBatch& batch, Budget& budget,
                              Graveyard& dead) {
  const VirtAddr reached = tables_.unmap(cpu, region.start, end, batch, budget);
  const u64 pages = (reached - region.start) / kPageSize;
  mapped_pages_.fetch_sub(pages, kRelaxed);
  budget.spend(kRegionCost);
  if (pages == region.pages) {
    detach(cpu, region, dead);
  } else if (pages > 0) {
    regions_.erase(region);
    region.start = reached;
    region.first_page += pages;
    region.pages -= pages;
    regions_.insert(region);
  }
  return reached == end;
}

// No lock is held any more: other CPUs can answer the flush, and objects can go.
[[gnu::always_inline]] inline void AddressSpace::bury(Cpu& cpu, TlbBatch& batch, Graveyard& dead) {
  batch.flush(cpu);
  while (dead.first != nullptr) free_region(cpu, *std::exchange(dead.first, dead.first->next));
}

void AddressSpace::free_region(Cpu& cpu, Region& region) {
  region.memory->remove(cpu, region);
  destroy_object(cpu, group(), &region);
}

Result<Progress> AddressSpace::unmap(Cpu& cpu, VirtAddr at, u64 bytes) {
  TRY(Result<void>(check_range(at, bytes)));
  const VirtAddr end = at + bytes;
  VirtAddr reached = at;
  Region* spare = nullptr;
  TlbBatch batch(*this);
  Graveyard dead;
  const auto work = [&]() REQUIRES(lock_) -> Result<void> {
    // Only the first region can begin before the range. Cutting it is all that needs memory: the others lose their
    // front (I4).
    if (Region* region = find(at); region != nullptr && region->start < at && bytes != 0) {
      spare = TRY(make<Region>(cpu, group()));
      if (split(cpu, *region, at, spare).status() != Status::ok) {
        // Being revoked: all of it is on its way out.
        region->prot = region->max = Protection::none;
        reached = region->end() < end ? region->end() : end;
      }
    }
    for (Budget budget; reached < end && budget.left > 0;) {
      Region* region = first_after(reached);
      if (region == nullptr || region->start >= end) {
        reached = end;
        break;
      }
      if (region->start > reached) reached = region->start;
      const VirtAddr stop = region->end() < end ? region->end() : end;
      const u64 before = region->pages;
      if (unmap_some(cpu, *region, stop, batch, budget, dead)) {
        reached = stop;
      } else {
        reached = reached + (before - region->pages) * kPageSize;
      }
    }
    return Status::ok;
  };
  Status status = Status::ok;
  {
    LockGuard guard(cpu, lock_);
    status = work().status();
  }
  bury(cpu, batch, dead);
  if (spare != nullptr) destroy_object(cpu, group(), spare);
  if (status != Status::ok) return status;
  return Progress{reached - at, reached == end};
}

Result<Progress> AddressSpace::protect(Cpu& cpu, VirtAddr at, u64 bytes, Protection prot) {
  TRY(Result<void>(check_range(at, bytes)));
  if (!is_mappable(prot)) return Status::invalid_argument;
  const VirtAddr end = at + bytes;
  VirtAddr reached = at;
  Region* spares[2] = {};
  TlbBatch batch(*this);
  Graveyard dead;
  const auto work = [&]() REQUIRES(lock_) -> Result<void> {
    u32 count = 0;
    Region* last = nullptr;
    bool may_share = false;
    for (VirtAddr next = at; next < end; next = last->end()) {
      last = find(next);
      if (last == nullptr) return Status::bad_address;
      if (!within(prot, last->max)) return Status::missing_right;
      if (++count > kMaxProtectRegions) return Status::invalid_argument;
      may_share |= last->memory->may_share();
    }
    if (last == nullptr) return Status::ok;  // no bytes
    Region* first = find(at);
    const bool cut_front = first->start < at && first->prot != prot;
    const bool cut_back = last->end() > end && last->prot != prot;
    if (cut_front) spares[0] = TRY(make<Region>(cpu, group()));
    if (cut_back) spares[1] = TRY(make<Region>(cpu, group()));
    // A cut alone changes nothing that anybody can see. It fails only when the region is being revoked.
    if (cut_back) TRY(split(cpu, *last, end, spares[1]));
    if (cut_front) TRY(split(cpu, *first, at, spares[0]));
    for (VirtAddr next = at; next < end;) {
      Region* region = find(next);
      region->prot = prot;
      next = region->end();
    }
    Budget budget;
    // Which pages may be written to then, faults find out.
    if (may_share && allows(prot, Access::write)) prot = Protection::none;
    reached = tables_.protect(cpu, at, end, prot, batch, budget);
    return Status::ok;
  };
  Status status = Status::ok;
  {
    LockGuard guard(cpu, lock_);
    status = work().status();
  }
  bury(cpu, batch, dead);
  for (Region* spare : spares) {
    if (spare != nullptr) destroy_object(cpu, group(), spare);
  }
  if (status != Status::ok) return status;
  return Progress{reached - at, reached == end};
}

// Maps the page at `at`, or the 2 MiB around it where the region and its memory allow. Answers what was mapped.
[[gnu::always_inline]] inline Result<u64> AddressSpace::map_page(Cpu& cpu, Region& region, VirtAddr at, Access access) {
  MemoryObject& memory = *region.memory;
  MapFlags flags{.protection = region.prot, .cache = memory.cache(), .user = true};
  const VirtAddr block(align_down(at.value, kLargePageSize));
  if (memory.contiguous() && block >= region.start && region.end() - block >= kLargePageSize) {
    const u64 index = region.first_page + (block - region.start) / kPageSize;
    if (const auto address = memory.large_page(cpu, index)) {
      const Status status = tables_.map(cpu, group(), block, *address, flags, true).status();
      if (status == Status::ok) return kLargePageSize;
      if (status != Status::already_exists) return status;  // else: small pages are there already
    }
  }
  const VirtAddr page(align_down(at.value, kPageSize));
  const auto view = TRY(memory.view(cpu, region.first_page + (page - region.start) / kPageSize, access));
  if (view.shared()) flags.protection = Protection(u8(flags.protection) & ~u8(Access::write));
  TRY(tables_.map(cpu, group(), page, view.address(), flags));
  return kPageSize;
}

Result<void> AddressSpace::handle_fault(Cpu& cpu, VirtAddr at, Access access) {
  MemoryObject* memory = nullptr;
  {
    LockGuard guard(cpu, lock_);
    Region* region = find(at);
    if (region == nullptr) return Status::bad_address;
    if (!allows(region->prot, access)) return Status::missing_right;
    const Status status = map_page(cpu, *region, at, access).status();
    if (status != Status::restart) [[likely]]
      return status;
    memory = region->memory.get();
    memory->add_ref();
  }
  const Status status = memory->withdraw(cpu);
  memory->drop_ref();
  return status == Status::restart ? Status::ok : status;  // the instruction runs again
}

u64 AddressSpace::withdraw(Cpu& cpu, MemoryObject& memory, u32 visit, TlbBatch& batch, Budget& budget) {
  LockGuard guard(cpu, lock_);
  // More than our own: pairs with TlbBatch::flush().
  return memory.clear(cpu, visit, tables_, flushes_due.load(kAcquire) > 1, batch, budget);
}

Result<Progress> AddressSpace::populate(Cpu& cpu, VirtAddr at, u64 bytes) {
  TRY(Result<void>(check_range(at, bytes)));
  const VirtAddr end = at + bytes;
  VirtAddr reached = at;
  LockGuard guard(cpu, lock_);
  for (u32 i = 0; reached < end && i < kPopulatePages; ++i) {
    Region* region = find(reached);
    if (region == nullptr) return Status::bad_address;
    if (region->prot == Protection::none) return Status::missing_right;
    Result<u64> mapped = map_page(cpu, *region, reached, Access::read);
    if (!mapped.has_value()) return mapped.error();
    reached = VirtAddr(align_down(reached.value, *mapped) + *mapped);
  }
  if (reached > end) reached = end;
  return Progress{reached - at, reached == end};
}

Result<WordRef> AddressSpace::locate(Cpu& cpu, VirtAddr at) {
  if (!is_aligned(at.value, sizeof(u32))) return Status::misaligned;
  RefPtr<MemoryObject> memory;
  u64 offset = 0;
  {
    LockGuard guard(cpu, lock_);
    Region* region = find(at);
    if (region == nullptr) return Status::bad_address;
    if (!allows(region->prot, Access::read)) return Status::missing_right;
    memory = region->memory;
    offset = region->first_page * kPageSize + (at - region->start);
  }
  if (memory->form() == MemoryObject::Form::physical) return Status::bad_address;  // not in the direct map
  Result<PhysAddr> page = memory->existing_page(cpu, offset / kPageSize);
  if (page.status() == Status::restart) (void)memory->withdraw(cpu);
  if (!page.has_value()) return page.error() == Status::not_found ? Status::touch_first : page.error();
  return WordRef{std::move(memory), offset, *page + (at.value & (kPageSize - 1))};
}

bool AddressSpace::teardown_step(Cpu& cpu) {
  TlbBatch batch(*this);
  Graveyard dead;
  bool done = false;
  RefPtr<MemoryObject> revoked;
  {
    LockGuard guard(cpu, lock_);
    closing_ = true;
    for (Budget budget; budget.left > 0 && !regions_.empty();) {
      Region* region = regions_.first();
      unmap_some(cpu, *region, region->end(), batch, budget, dead);
    }
    done = regions_.empty() && orphans_ == 0;
    if (regions_.empty() && orphan_list_ != nullptr) revoked = orphan_list_->memory;
  }
  bury(cpu, batch, dead);
  // An orphan waits for a revocation that may have been abandoned: goes on with it here.
  if (revoked) (void)revoked->finish_revoked_region(cpu);
  return done;
}

bool AddressSpace::unmap_region_node(Cpu& cpu, CapNode& node) {
  Region& region = *static_cast<Region*>(node.holder);
  AddressSpace& space = *region.space;
  TlbBatch batch(space);
  Graveyard dead;
  bool gone = false;
  {
    LockGuard guard(cpu, space.lock_);
    if (!region.orphan) {
      region.prot = region.max = Protection::none;  // no fault maps it again between two of our steps
      Budget budget;
      // The node is unlinked, so a region that ends here becomes an orphan: ours.
      space.unmap_some(cpu, region, region.end(), batch, budget, dead);
    }
    gone = region.orphan;
    if (gone) {
      Region** link = &space.orphan_list_;
      while (*link != &region) link = &(*link)->next;
      *link = region.next;
    }
  }
  if (gone) dead.add(region);
  space.bury(cpu, batch, dead);
  if (!gone) return false;
  // Last, because it lets the space go: whoever sees orphans_ == 0 under the lock comes after our release of it.
  LockGuard guard(cpu, space.lock_);
  --space.orphans_;
  return true;
}

void AddressSpace::activate(Cpu& cpu) {
  cpu.space.store(this, kRelaxed);  // the load of the root is a full barrier: pairs with TlbBatch::flush()
  arch::load_root(root());
}

}  // namespace keel
