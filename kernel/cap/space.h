// CapSpace: the capabilities that a process holds. A two-level table of slots; user code names a slot by CapIndex.
//
// Invariants   I1 a slot whose header names a kind is live; its generation never had the same value in that slot before
//                 (a slot whose generations are used up is never used again).
//              I2 the header of a dying slot is cleared before anything else, and object, scope and node keep their
//                 values until nobody can be reading them any more; so a reader checks the header once, then reads.
//              I3 a live slot has a node of kind slot (holder = this space) in its object's tree, and is one handle.
//              I4 chunk pointers never change from one chunk to another; an absent chunk is the machine's empty chunk.
// Locks        lock_ (rank cap_space) guards allocation and publication of slots. Lookup takes none.
// Lifetime     part of its Process. Frames are charged to the process's group.
// Costs        lookup about 15 instructions; allocate and free O(1); a new chunk zeroes one frame.
#pragma once

#include "abi/types.h"
#include "kernel/cap/tree.h"

namespace keel {

// 32 bytes. header: generation in bits 32-63, rights in bits 16-31, kind in bits 0-7.
struct CapSlot {
  Atomic<u64> header{0};
  KObject* object = nullptr;
  u64 scope = 0;  // by kind: badge, range, bits (abi/objects.toml); free slots: the next free slot
  CapNode* node = nullptr;

  static constexpr u64 make_header(u32 generation, Rights rights, ObjectKind kind) {
    return u64{generation} << 32 | u64{rights} << 16 | u64(kind);
  }
  u64 load() const { return header.load(kAcquire); }
  static u32 generation(u64 h) { return u32(h >> 32); }
  static Rights rights(u64 h) { return Rights(h >> 16); }
  static ObjectKind kind(u64 h) { return ObjectKind(h & 0xff); }
};
static_assert(sizeof(CapSlot) == 32);

class CapSpace {
 public:
  static constexpr u32 kSlotsPerChunk = kPageSize / sizeof(CapSlot);
  static constexpr u32 kChunks = kPageSize / sizeof(CapSlot*);
  static constexpr u32 kMaxSlots = kSlotsPerChunk * kChunks;

  CapSpace() = default;
  ~CapSpace() = default;
  // Errors: no_memory, quota_exceeded.
  Result<void> initialise(Cpu& cpu, KObject& owner);

  // A borrow, valid until the kernel is left or preempted. Errors: bad_capability.
  Result<CapSlot*> find(CapIndex index) const {
    CapSlot& slot = slot_at(u32(index.value));
    u64 header = slot.load();
    if ((index.value & ~kIndexBits) != 0 || CapSlot::generation(header) != u32(index.value >> 32) ||
        CapSlot::kind(header) == ObjectKind::none) [[unlikely]] {
      return Status::bad_capability;
    }
    return &slot;
  }
  // Errors: bad_capability, wrong_kind, missing_right.
  Result<CapSlot*> find(CapIndex index, ObjectKind kind, Rights needed) const {
    CapSlot* slot = TRY(find(index));
    u64 header = slot->load();
    if (CapSlot::kind(header) != kind) return Status::wrong_kind;
    if ((CapSlot::rights(header) & needed) != needed) return Status::missing_right;
    return slot;
  }

  // Puts the first capability to a new object into the space, with all of the rights given.
  // Errors: no_slot, no_memory, quota_exceeded; nothing changed then.
  Result<CapIndex> insert_root(Cpu& cpu, KObject& object, Rights rights, u64 scope);
  // Derives a child of `parent` (a live slot of some space; rights and scope were checked) into this space.
  // Errors: as above, revoked, too_deep.
  Result<CapIndex> insert_child(Cpu& cpu, CapSlot& parent, Rights rights, u64 scope);
  // Moves the capability in `slot` of `from` here. Its node stays where it is in the tree. Errors: no_slot, no_memory,
  // quota_exceeded, revoked (it is gone, or what was derived from it is being revoked).
  Result<CapIndex> move_from(Cpu& cpu, CapSpace& from, CapSlot& slot);
  // Gives a capability up. False: it was gone already.
  bool remove(Cpu& cpu, CapIndex index);
  // A revocation took the node of slot `index` out of the tree: clears the slot.
  void clear_revoked(Cpu& cpu, CapNode& node);

  // The first live slot at or after `cursor` (a slot number); null when none is left. Looks at up to 512 slots and says
  // in *cursor how far it came.
  CapSlot* next(u32* cursor) const;
  // The slot that an index names, live or not.
  CapSlot& slot(CapIndex index) const { return slot_at(u32(index.value)); }
  CapIndex index_of(u32 number, const CapSlot& slot) const {
    return CapIndex(u64{CapSlot::generation(slot.load())} << 32 | u64{number} << kNumberShift);
  }
  u32 number_of(CapIndex index) const { return u32(index.value >> kNumberShift) & (kMaxSlots - 1); }

  u32 used() const { return used_.load(kRelaxed); }
  void set_limit(u32 limit) { limit_.store(limit, kRelaxed); }
  // The process that the space is part of.
  KObject& owner() const { return *owner_; }
  ResourceGroup& group() const { return owner_->group(); }
  u64 holder_id() const { return owner_->id(); }
  CapSlot* const* directory() const { return directory_; }

  // Gives everything up, a bounded part a call; true when done. Nobody inserts any more.
  bool teardown_step(Cpu& cpu);

 private:
  static constexpr u32 kNone = ~u32{0};
  static constexpr u32 kNumberShift = 5;
  static constexpr u64 kIndexBits = ~u64{0} << 32 | u64{kMaxSlots - 1} << kNumberShift;

  CapSlot& slot_at(u32 index_bits) const {
    u32 number = index_bits >> kNumberShift & (kMaxSlots - 1);
    return directory_[number / kSlotsPerChunk][number % kSlotsPerChunk];
  }
  // A slot that is no longer free and not yet live: its number. Errors: no_slot, no_memory, quota_exceeded.
  Result<u32> reserve(Cpu& cpu);
  void unreserve(Cpu& cpu, u32 number);
  Result<CapIndex> insert(Cpu& cpu, KObject& object, CapNode* parent, Rights rights, u64 scope);
  // Fills a reserved slot. The tree lock is held, so that a revocation finds either no node or a live slot.
  CapIndex publish(u32 number, KObject& object, Rights rights, u64 scope, CapNode& node) REQUIRES(object.tree_lock());
  Result<void> grow(Cpu& cpu) REQUIRES(lock_);
  // Clears the header (I2); the old one. Who gets a live one owns what follows: retire().
  static u64 clear(CapSlot& slot);
  void retire(Cpu& cpu, u32 number, KObject& object, u64 header);

  mutable SpinLock lock_{LockRank::cap_space, "capability space"};
  CapSlot** directory_ = nullptr;
  KObject* owner_ = nullptr;
  u32 first_free_ GUARDED_BY(lock_) = kNone;
  u32 chunks_ GUARDED_BY(lock_) = 0;
  u32 cursor_ = 0;  // teardown
  Atomic<u32> used_{0};
  Atomic<u32> limit_{kMaxSlots};
};

}  // namespace keel
