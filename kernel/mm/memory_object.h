// MemoryObject: a range of pages that can be mapped, independent of where and by whom.
//
//   anonymous    zero-filled pages of RAM. The whole size is charged when the object is made ("commit"); frames are
//   taken,
//                and zeroed, when a page is first touched. `contiguous` ones own one physically contiguous run, for
//                DMA.
//   physical     addresses that are not RAM: device registers, firmware tables. Never owns frames, never maps RAM.
//   boot_module  a range of RAM that was in use before the kernel was: the initial file system. Never freed.
//
// Invariants   I1 a page of an object never changes its frame while the object lives and the page is pinned or mapped.
//              I2 the group is charged for every page and every radix node that the object can ever need.
//              I3 when the object dies no page of it is mapped, since each region holds a reference; none is pinned,
//                 since whoever pins holds one too.
// Locks        lock_ (rank memory) guards the radix tree. Taken inside an address space's lock.
// Lifetime     the last reference puts the object on a work queue; its frames go back 64 a step.
// Costs        page(): <= 3 levels below the root for 512 GiB, none up to 8 pages; zeroing a new page is 512 stores.
// See          docs/subsystems/memory.md, memory_object_test.cc
#pragma once

#include <optional>

#include "kernel/mm/frames.h"
#include "kernel/mm/protection.h"
#include "kernel/object/object.h"

namespace keel {

class MemoryObject final : public KObject {
 public:
  static constexpr ObjectKind kKind = ObjectKind::memory;
  enum class Form : u8 { anonymous, contiguous, physical, boot_module };
  static constexpr u64 kMaxPages = u64{1} << 27;  // three radix levels: 512 GiB
  static constexpr u64 kMaxContiguous = FrameAllocator::kChunkFrames;
  static constexpr u64 kMaxPhysicalPages = u64{1} << 40;

  // Errors: invalid_argument (no pages), too_big (more than kMaxPages), no_memory, quota_exceeded.
  static Result<RefPtr<MemoryObject>> create_anonymous(Cpu& cpu, ResourceGroup& group, u64 pages);
  // Errors: as above; too_big above kMaxContiguous. Aligned to the next power of two of its size.
  static Result<RefPtr<MemoryObject>> create_contiguous(Cpu& cpu, ResourceGroup& group, u64 pages);
  // Errors: invalid_argument, out_of_range (past the physical address space), misaligned, no_memory, quota_exceeded.
  static Result<RefPtr<MemoryObject>> create_physical(Cpu& cpu, ResourceGroup& group, PhysAddr base, u64 pages,
                                                      CacheMode cache);
  static Result<RefPtr<MemoryObject>> create_boot_module(Cpu& cpu, ResourceGroup& group, PhysAddr base, u64 pages);

  u64 pages() const { return pages_; }
  CacheMode cache() const { return cache_; }
  Form form() const { return form_; }
  bool contiguous() const { return form_ != Form::anonymous; }

  // The frame behind a page; makes it if there is none yet. Errors: out_of_range, no_memory,
  // bad_address (a physical object reaches into RAM).
  Result<PhysAddr> page(Cpu& cpu, u64 index, Access access) EXCLUDES(lock_);
  // The frame behind a page if it exists: not_found if it was never touched.
  Result<PhysAddr> existing_page(Cpu& cpu, u64 index) EXCLUDES(lock_);
  // Whether pages [index, index + 512) lie in one 2 MiB-aligned piece that may be mapped by one leaf; its address.
  std::optional<PhysAddr> large_page(Cpu& cpu, u64 index) const;

  // Makes pages present now instead of at the first touch. Zeroes up to kZeroBatch of them, passes up to kPinBatch that
  // exist, and answers how many it did; the caller goes on from there. Errors: out_of_range, no_memory.
  Result<u64> commit(Cpu& cpu, u64 first, u64 count);
  // Makes pages present and fixes them for DMA, in steps like commit(); the caller goes on, or takes back with unpin()
  // what it has. Errors: out_of_range, no_memory, busy (a page is pinned 2^32 - 1 times).
  Result<u64> pin(Cpu& cpu, u64 first, u64 count);
  // Does up to kPinBatch and answers how many. The pages are pinned.
  u64 unpin(Cpu& cpu, u64 first, u64 count);
  u64 pinned_pages() const { return pinned_.load(kRelaxed); }
  // Pages that have a frame; of an anonymous object.
  u64 committed_pages() const { return committed_.load(kRelaxed); }

  static constexpr i32 kZeroBatch = 8;
  static constexpr i32 kPinBatch = 64;
  static constexpr i32 kReleaseBatch = 8;  // pages given back in a step of its end

 private:
  friend class ObjectMaker;

  // A radix entry: the address of a frame or node, 0 if absent.
  using Slot = u64;
  static constexpr u64 kInline = 8;
  static constexpr u64 kFanout = 512;

  MemoryObject(ResourceGroup& group, Form form, PhysAddr base, u64 pages, CacheMode cache, u64 charged);
  ~MemoryObject() override = default;
  static Result<RefPtr<MemoryObject>> create(Cpu& cpu, ResourceGroup& group, Form form, PhysAddr base, u64 pages,
                                             CacheMode cache, u64 charge);
  bool release_step(Cpu& cpu) override;
  void destroy(Cpu& cpu) override;

  bool owns_frames() const { return form_ == Form::anonymous || form_ == Form::contiguous; }
  Result<u64> fix(Cpu& cpu, u64 first, u64 count, bool pin);
  static u32 levels_for(u64 pages);
  static u64 nodes_for(u64 pages);
  // The slot of a page; null if a node on the way is absent and `make` is not set, or there is no memory for it.
  Slot* slot(Cpu& cpu, u64 index, bool make) REQUIRES(lock_);
  Result<PhysAddr> page_locked(Cpu& cpu, u64 index, i32& budget) REQUIRES(lock_);

  const PhysAddr base_;
  const u64 pages_;
  const u64 charged_;
  const Form form_;
  const CacheMode cache_;
  const u8 levels_;  // of radix nodes between root_ and the pages
  Atomic<u64> pinned_{0};
  Atomic<u64> committed_{0};

  SpinLock lock_{LockRank::memory, "memory object"};
  Slot root_[kInline] GUARDED_BY(lock_) = {};  // up to 8 pages, or up to 8 (of 512) subtrees
  u64 cursor_ GUARDED_BY(lock_) = 0;           // release_step: the pages before it are freed
};

}  // namespace keel
