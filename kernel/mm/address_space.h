// AddressSpace: the user memory of a process: regions, each a window onto a memory object, and the page tables that
// follow from them. Page tables are a cache: every entry can be made again by a fault, so any of them may be dropped.
//
// Revocation   A region embeds a node of its memory object's derivation tree. Whoever takes the node out of the tree
//              (unlink() of kernel/cap/tree.h, under the object's lock) owns the Region and frees it; the other side
//              lets it go:
//                owner      holds lock_, removes the mapping, then unlinks. If that fails a revocation has been there:
//                           the region leaves the tree of regions as an orphan, and its memory stays.
//                revoker    unlinks under the object's lock, drops that lock, then calls unmap_region_node() until it
//                           answers true: that removes the mapping if the owner has not, and frees the Region.
//              A space outlives its regions, orphans included, so an unlinked region node is as good as a reference to
//              the space: the revoker needs no other. Lock order: address_space before object, never the reverse.
//
// Invariants   I1 regions do not overlap and lie in [kUserBase, kUserEnd); each lies inside its object.
//              I2 within(prot, max) and is_mappable(prot) for every region.
//              I3 a page that is present in the page table is inside a region, maps that region's page, and allows no
//                 more than the region's prot.
//              I4 no operation fails half way: whatever it needs is allocated before it changes anything.
// Locks        lock_ (rank address_space) guards regions and page tables. TLB flushes and the freeing of regions happen
//              after it is released.
// Withdrawal   An object may take pages out of all its regions (memory_object.h). A fault on one of these does a step
// of
//              that and answers ok: the instruction runs again.
//
// Restart      unmap, protect, populate, unmap_region_node and teardown_step do about 64 pages a call and say how far
//              they came. The caller repeats with what is left; nothing is lost if it never does.
// Costs        find O(log regions), with a one-entry cache; a fault on an anonymous page about 490 instructions, all
//              told, when a frame was zeroed ahead, and about 1,020 when not; 440 when the page is there.
// See          docs/subsystems/memory.md, address_space_test.cc
#pragma once

#include "kernel/mm/memory_object.h"
#include "kernel/mm/page_table.h"

namespace keel {

struct MapRequest {
  MemoryObject& memory;
  CapNode* parent = nullptr;  // the capability it is mapped through; null for the kernel's own mappings
  u64 first_page = 0;
  u64 pages = 0;
  Protection prot = Protection::read;
  Protection max = Protection::read;  // what protect() may raise it to; what the capability's rights permit
  VirtAddr at{};                      // 0: the kernel chooses
  bool fixed = false;                 // `at` exactly, or bad_address. Not fixed: `at` is a hint
  u64 guard_pages = 1;                // kept free on both sides where the kernel chooses
};

// How far a restartable operation came, from the start of its range.
struct Progress {
  u64 bytes = 0;
  bool finished = false;
};

// A word of user memory as word_wait and word_wake know it: the same word of an object wherever it is mapped.
struct WordRef {
  RefPtr<MemoryObject> memory;
  u64 offset = 0;
  PhysAddr address;
};

struct RegionInfo;

class AddressSpace final : public KObject {
 public:
  static constexpr ObjectKind kKind = ObjectKind::address_space;
  // `layout_seed` decides where regions go: random, or fixed for a reproducible machine.
  // Errors: no_memory, quota_exceeded.
  static Result<RefPtr<AddressSpace>> create(Cpu& cpu, ResourceGroup& group, u64 layout_seed);

  // Maps lazily: pages appear when touched, or by populate().
  // At least 2 MiB are aligned to 2 MiB, so that whole page tables come and go with them.
  // Errors: invalid_argument (no pages; write and execute; prot beyond max), misaligned, out_of_range (beyond the
  // object), bad_address (overlap, not user memory, overflow), no_memory, quota_exceeded, revoked, too_deep.
  Result<VirtAddr> map(Cpu& cpu, const MapRequest& request);
  // Takes away whatever is mapped in the range; holes are fine.
  // Errors: misaligned, bad_address (not user memory), no_memory and quota_exceeded (splitting a region).
  Result<Progress> unmap(Cpu& cpu, VirtAddr at, u64 bytes);
  // Errors: as unmap; invalid_argument (write and execute; more than 64 regions), bad_address (a hole in the range),
  // missing_right (beyond a region's max). Nothing has changed then.
  Result<Progress> protect(Cpu& cpu, VirtAddr at, u64 bytes, Protection prot);
  // Makes the pages of a range present. Errors: as handle_fault for the first page that cannot be.
  Result<Progress> populate(Cpu& cpu, VirtAddr at, u64 bytes);

  // Ok: mapped, run the instruction again. Errors: bad_address (no region), missing_right (the region forbids it),
  // no_memory, quota_exceeded (page tables).
  Result<void> handle_fault(Cpu& cpu, VirtAddr at, Access access);
  // The aligned 4- or 8-byte word at `at`. Errors: bad_address, missing_right (not readable), misaligned (not to 4),
  // touch_first (never touched), restart (withdrawn). The address is right until the kernel is left: taking the page
  // away means to interrupt this CPU, on which the space is loaded.
  Result<WordRef> locate(Cpu& cpu, VirtAddr at);

  u64 mapped_pages() const { return mapped_pages_.load(kRelaxed); }

  // Unmaps everything, bounded; true when nothing is left. Nobody maps any more: map() answers bad_state from now on.
  bool teardown_step(Cpu& cpu);
  // Finishes the revocation of a region; see "Revocation". False: call again.
  static bool unmap_region_node(Cpu& cpu, CapNode& node);
  // MemoryObject::clear() for a region of this space; the batch is the caller's to flush.
  u64 withdraw(Cpu& cpu, MemoryObject& memory, u32 visit, TlbBatch& batch, Budget& budget);

  // Loads the page tables. Publishes cpu.space first, so that a flush on another CPU finds this one.
  void activate(Cpu& cpu);
  // CPUs that threads of it belong, or belonged, to: others never have it loaded.
  CpuSet cpus;
  // Batches that are not flushed yet. One: whoever holds the lock and a batch knows that no TLB has more than the
  // tables.
  Atomic<u32> flushes_due{0};
  // Never changes while the space lives.
  PhysAddr root() const NO_THREAD_SAFETY_ANALYSIS { return tables_.root(); }

  // Only tests have the following (machine_rig_test.h). The regions from `from` on, as many as fit: how many were
  // written. Whether I1 and I2 hold.
  u32 regions(Cpu& cpu, VirtAddr from, std::span<RegionInfo> out);
  u64 region_count();
  bool check(Cpu& cpu);
  std::optional<PageTable::Mapping> lookup(Cpu& cpu, VirtAddr at);

 private:
  friend class ObjectMaker;

  struct ByStart {
    VirtAddr operator()(const Region& r) const { return r.start; }
  };
  // Regions on their way out: freed when lock_ is released and the TLBs are flushed.
  struct Graveyard;

  AddressSpace(ResourceGroup& group, u64 layout_seed);
  ~AddressSpace() override = default;
  bool release_step(Cpu& cpu) override { return teardown_step(cpu); }
  void destroy(Cpu& cpu) override;

  Region* find(VirtAddr at) REQUIRES(lock_);
  Region* first_after(VirtAddr at) REQUIRES(lock_);  // the region that contains `at`, or else the next one
  bool is_free(VirtAddr first, VirtAddr end) REQUIRES(lock_);
  Result<VirtAddr> choose(const MapRequest& request, u64 alignment) REQUIRES(lock_);
  Result<void> split(Cpu& cpu, Region& region, VirtAddr at, Region*& spare) REQUIRES(lock_);
  bool unmap_some(Cpu& cpu, Region& region, VirtAddr end, TlbBatch& batch, Budget& budget, Graveyard& dead)
      REQUIRES(lock_);
  void detach(Cpu& cpu, Region& region, Graveyard& dead) REQUIRES(lock_);
  Result<u64> map_page(Cpu& cpu, Region& region, VirtAddr at, Access access) REQUIRES(lock_);
  void bury(Cpu& cpu, TlbBatch& batch, Graveyard& dead) EXCLUDES(lock_);
  void free_region(Cpu& cpu, Region& region) EXCLUDES(lock_);
  u64 random() REQUIRES(lock_);

  SpinLock lock_{LockRank::address_space, "address space"};
  PageTable tables_ GUARDED_BY(lock_);
  IntrusiveTree<Region, &Region::hook, ByStart> regions_ GUARDED_BY(lock_);
  Region* recent_ GUARDED_BY(lock_) = nullptr;  // where the last fault was
  u64 random_ GUARDED_BY(lock_);
  VirtAddr next_ GUARDED_BY(lock_);  // where the search for a free range starts
  u64 orphans_ GUARDED_BY(lock_) = 0;
  Region* orphan_list_ GUARDED_BY(lock_) = nullptr;  // those that no revocation has taken yet
  bool closing_ GUARDED_BY(lock_) = false;
  Atomic<u64> mapped_pages_{0};
};

inline TlbBatch::TlbBatch(AddressSpace& space) : space_(space) { space.flushes_due.fetch_add(1, kRelaxed); }

}  // namespace keel
