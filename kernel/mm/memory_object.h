// MemoryObject: a range of pages that can be mapped, independent of where and by whom.
//
//   anonymous    zero-filled pages of RAM. The whole size is charged when the object is made ("commit"); frames are
//   taken,
//                and zeroed, when a page is first touched. `contiguous` ones own one physically contiguous run, for
//                DMA.
//   physical     addresses that are not RAM: device registers, firmware tables. Never owns frames, never maps RAM.
//   boot_module  a range of RAM that was in use before the kernel was: the initial file system. Never freed.
//
// Copy on write (ADR 13): an anonymous object and its clones share nodes and frames, each of which counts the slots
// that lead to it. What more than one leads to, or what lies below such a node, is shared: it does not change, and is
// mapped for reading only. Who writes first makes a copy for his object.
//
// Withdrawal   Before a page changes its frame, or all become shared, they leave every mapping: region by region, each
//              step followed by a flush. Until the end of it these pages cannot be mapped or pinned: whoever touches
//              one does a step of the work instead of waiting, so it ends whatever the priorities. One at a time per
//              object.
//
// Invariants   I1 a page of an object never changes its frame while it is pinned or mapped.
//              I2 the group is charged for every page and every radix node that the object can ever need.
//              I3 when the object dies no page of it is mapped, since each region holds a reference; none is pinned,
//                 since whoever pins holds one too.
//              I4 what is shared is not written to: no slot of a shared node, no byte of a shared page.
//              I5 a region is in regions_ from its first mapping until the flush after its last one.
// Locks        lock_ (rank memory) guards the radix tree as far as it is not shared, and the withdrawal. Taken inside
//              an address space's lock. Shares change under the locks of different objects: they are atomic.
// Lifetime     the last reference puts the object on a work queue; its frames go back 64 a step.
// Costs        page(): <= 3 levels below the root for 512 GiB, none up to 8 pages; zeroing a new page is 512 stores.
//              A clone: its regions' page tables, and 8 counts. A page's withdrawal: a visit to each region.
// See          docs/subsystems/memory.md, docs/adr/0013-copy-on-write.md, memory_object_test.cc
#pragma once

#include <optional>

#include "kernel/mm/frames.h"
#include "kernel/mm/region.h"
#include "kernel/object/object.h"

namespace keel {

class PageTable;
class TlbBatch;
struct Budget;

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

  // What is to become a clone of `source`, still without pages; its commit is charged. Errors: not_supported (not
  // anonymous), no_memory, quota_exceeded.
  static Result<RefPtr<MemoryObject>> create_clone(Cpu& cpu, ResourceGroup& group, const MemoryObject& source);
  // Does a step of making `clone` what this object is at one instant, the last step's. Errors: restart (not done yet),
  // busy (pages are pinned), no_memory (another's withdrawal had to be finished first).
  Result<void> clone_into(Cpu& cpu, MemoryObject& clone) EXCLUDES(lock_);
  bool is_clone_of(const MemoryObject& source) const { return source_ == source.id(); }
  bool is_clone() const { return source_ != 0; }

  u64 pages() const { return pages_; }
  CacheMode cache() const { return cache_; }
  Form form() const { return form_; }
  bool contiguous() const { return form_ != Form::anonymous; }

  // A page as it may be mapped.
  struct View {
    u64 bits = 0;
    PhysAddr address() const { return PhysAddr(bits & ~u64{1}); }
    bool shared() const { return (bits & 1) != 0; }  // not for writing
  };
  // The frame behind a page; makes it if there is none yet. Errors: out_of_range, no_memory, bad_address (a physical
  // object reaches into RAM), restart (it is withdrawn: now, if that is to write to a shared page. Call withdraw(), and
  // this again).
  Result<View> view(Cpu& cpu, u64 index, Access access) EXCLUDES(lock_);
  Result<PhysAddr> page(Cpu& cpu, u64 index, Access access) { return TRY(view(cpu, index, access)).address(); }
  // The frame behind a page if it exists: not_found if it was never touched, restart as above.
  Result<PhysAddr> existing_page(Cpu& cpu, u64 index) EXCLUDES(lock_);
  // Whether pages [index, index + 512) lie in one 2 MiB-aligned piece that may be mapped by one leaf; its address.
  std::optional<PhysAddr> large_page(Cpu& cpu, u64 index) const;

  // Makes pages present now instead of at the first touch. Zeroes up to kZeroBatch of them, passes up to kPinBatch that
  // exist, and answers how many it did; the caller goes on from there. Errors: out_of_range, no_memory.
  Result<u64> commit(Cpu& cpu, u64 first, u64 count);
  // Makes pages present and the object's own, fixes them for DMA and puts their addresses into `addresses`, in steps
  // like commit(); the caller goes on, or takes back with unpin() what it has. Errors: out_of_range, no_memory, busy (a
  // page is pinned 2^32 - 1 times).
  Result<u64> pin(Cpu& cpu, u64 first, u64 count, u64* addresses);
  // Does up to kPinBatch and answers how many. The pages are pinned.
  u64 unpin(Cpu& cpu, u64 first, u64 count);
  u64 pinned_pages() const { return pinned_.load(kRelaxed); }
  // Pages that have a frame; of an anonymous object.
  u64 committed_pages() const { return committed_.load(kRelaxed); }

  // For regions, which tell when they come, and when they are gone from all TLBs (I5).
  void add(Cpu& cpu, Region& region) EXCLUDES(lock_) {
    LockGuard guard(cpu, lock_);
    regions_.push_back(region);
  }
  void remove(Cpu& cpu, Region& region) EXCLUDES(lock_) {
    LockGuard guard(cpu, lock_);
    if (visited_ == &region) visit(regions_.next(region));
    regions_.remove(region);
  }
  // Whether any page may be shared. Once true, always true.
  bool may_share() const { return may_share_.load(kAcquire); }  // pairs with finish_withdrawal()
  // Goes on with the withdrawal that is under way; the caller holds no lock. Ok: it is over. Errors: restart (come
  // again; or there was nothing to do), no_memory.
  Status withdraw(Cpu& cpu) EXCLUDES(lock_);
  // The part of it that needs the lock of the space: clears some of what is withdrawn, if that visit is not over.
  // `flushes_due`: others have batches for this space. Answers before which page of the object nothing is left.
  u64 clear(Cpu& cpu, u32 visit_number, PageTable& tables, bool flushes_due, TlbBatch& batch, Budget& budget)
      EXCLUDES(lock_);

  static constexpr i32 kZeroBatch = 4;
  static constexpr i32 kPinBatch = 64;
  static constexpr i32 kReleaseBatch = 8;  // pages given back in a step of its end

 private:
  friend class ObjectMaker;

  // A radix entry: the address of a frame or node, 0 if absent.
  using Slot = u64;
  static constexpr u64 kInline = 8;
  static constexpr u64 kFanout = 512;

  MemoryObject(ResourceGroup& group, Form form, PhysAddr base, u64 pages, CacheMode cache, u64 source);
  ~MemoryObject() override = default;
  static Result<RefPtr<MemoryObject>> create(Cpu& cpu, ResourceGroup& group, Form form, PhysAddr base, u64 pages,
                                             CacheMode cache, u64 source = 0);
  bool release_step(Cpu& cpu) override;
  void destroy(Cpu& cpu) override;

  bool owns_frames() const { return form_ <= Form::contiguous; }
  Result<u64> fix(Cpu& cpu, u64 first, u64 count, u64* addresses);
  static u32 levels_for(u64 pages);
  static u64 nodes_for(u64 pages);
  static u64 charge_of(Form form, u64 pages) { return form <= Form::contiguous ? pages + nodes_for(pages) : 0; }
  // A page that exists, null if it does not.
  View find(Cpu& cpu, u64 index) const REQUIRES(lock_);
  // The slot of a page, its nodes made where absent, and made the object's own. Errors: no_memory, restart (one was
  // copied, which is enough for one entry).
  Result<Slot*> own(Cpu& cpu, u64 index, bool may_share) REQUIRES(lock_);
  Result<void> copy(Cpu& cpu, Slot& slot, u32 level) REQUIRES(lock_);
  Result<View> make_page(Cpu& cpu, u64 index, Slot& slot) REQUIRES(lock_);
  Result<View> view_locked(Cpu& cpu, u64 index, Access access) REQUIRES(lock_);
  Result<View> view_shared(Cpu& cpu, u64 index, Access access) REQUIRES(lock_);
  void begin_withdrawal(u64 first, u64 count) REQUIRES(lock_);
  bool is_withdrawn(u64 index) const REQUIRES(lock_) { return index - first_ < count_; }
  void visit(Region* region) REQUIRES(lock_) { visited_ = region, cursor_ = 0, ++visit_; }
  Result<void> finish_withdrawal(Cpu& cpu) REQUIRES(lock_);

  const PhysAddr base_;
  const u64 pages_;
  const u64 source_;  // of a clone: the number of what it was cloned from; else 0
  const Form form_;
  const CacheMode cache_;
  const u8 levels_;  // of radix nodes between root_ and the pages
  Atomic<bool> may_share_{false};
  u32 visit_ GUARDED_BY(lock_) = 0;  // counts changes of visited_
  Atomic<u64> pinned_{0};
  Atomic<u64> committed_{0};

  SpinLock lock_{LockRank::memory, "memory object"};
  Slot root_[kInline] GUARDED_BY(lock_) = {};  // up to 8 pages, or up to 8 (of 512) subtrees
  // The pages before it are freed (release_step), or withdrawn from the region that is being visited.
  u64 cursor_ GUARDED_BY(lock_) = 0;
  IntrusiveList<Region, &Region::of_memory> regions_ GUARDED_BY(lock_);
  Region* visited_ GUARDED_BY(lock_) = nullptr;   // the next one that a withdrawal has to clear; null: none is left
  RefPtr<MemoryObject> clone_ GUARDED_BY(lock_);  // what the withdrawal is for; null: for one page's own frame
  u32 first_ GUARDED_BY(lock_) = 0;               // what is withdrawn
  u32 count_ GUARDED_BY(lock_) = 0;               // 0: nothing is
};

}  // namespace keel
