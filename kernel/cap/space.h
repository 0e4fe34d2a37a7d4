// CapSpace: the capabilities that a process holds. A two-level table of slots; user code names a slot by CapIndex.
//
// Invariants   I1 a slot whose name is an index of its own number is live; that name was never in the slot before, for
//                 a slot whose generations are used up is never used again. The name of any other slot has another
//                 number, so that no index finds it: one comparison tells whether an index is live.
//              I2 the name of a dying slot is changed before anything else; object, scope, rights and node keep their
//                 values until nobody can be reading them any more; so a reader checks the name once, then reads.
//              I3 a live slot has a node of kind slot (holder = this space) in its object's tree, and is one handle.
//              I4 chunk pointers never change from one chunk to another; an absent chunk is the machine's empty chunk.
//              I5 every thread of the process has the directory that is in use before the space has a chunk which the
//                 first, small, one has no place for.
// Locks        lock_ (rank cap_space) guards allocation and publication of slots. Lookup takes none.
// Lifetime     part of its Process. Frames are charged to the process's group.
// Costs        lookup about 10 instructions; allocate and free O(1); a new chunk fills one frame. Beyond kFewChunks a
//              frame for the large directory, and once a walk over the threads of the process.
#pragma once

#include <optional>

#include "abi/types.h"
#include "kernel/cap/tree.h"

namespace keel {

// What the fast paths ask of a capability, each a bit that is tested where the slot is (kernel/ipc/fast.cc).
enum class FastUse : u8 { call = 1, receive = 2, signal = 4, wait = 8 };

// 32 bytes.
struct CapSlot {
  CapSlot() = default;
  explicit CapSlot(u64 first_name) : name(first_name) {}

  Atomic<u64> name{0};  // the CapIndex, if live
  KObject* object = nullptr;
  u64 scope = 0;  // by kind: badge, range, bits (abi/objects.toml); free slots: the next free slot

  static constexpr u32 kNumberShift = 5;
  static constexpr u64 kNextDoor = 1 << kNumberShift;  // what the numbers of neighbours, and their places, differ in
  static constexpr u64 make_name(u32 generation, u32 number) {
    return u64{generation} << 32 | u64{number} << kNumberShift;
  }
  // The name of a slot that is no longer live: the same generation, a number whose place is next door (I1).
  static constexpr u64 dead(u64 name) { return name ^ kNextDoor; }
  // The first name that a free slot has not had yet.
  static constexpr u64 next(u64 dead_name) { return dead(dead_name) + (u64{1} << 32); }
  // After the last name the slot stays unused. Half of the generations, so that one bit tells.
  static constexpr bool is_last(u64 name) { return i64(name) < 0; }
  // Whether the slot with this name, found somehow else than by an index, is live: numbers go with places.
  bool is_live(u64 its_name) const {
    // SAFETY: an address as a number; slots lie at multiples of their size, which is 1 << kNumberShift.
    return ((its_name ^ reinterpret_cast<u64>(this)) & kNextDoor) == 0;
  }

  CapIndex index() const { return CapIndex(name.load(kRelaxed)); }
  // Kind and rights of a live slot, as one number.
  u64 load() const { return u64(object->kind()) | u64{rights()} << 16; }
  static Rights rights(u64 kind_and_rights) { return Rights(kind_and_rights >> 16); }
  static ObjectKind kind(u64 kind_and_rights) { return ObjectKind(kind_and_rights & 0xff); }
  Rights rights() const { return Rights(link_); }
  bool has(FastUse use) const { return (u8(link_ >> kUsesShift) & u8(use)) != 0; }
  CapNode* node() const {
    // SAFETY: link_ holds bits 6-47 of a node's address. Those above are all like bit 47; those below are 0, for a node
    // in a slot comes from the heap, which aligns it to its 64 bytes.
    return reinterpret_cast<CapNode*>(u64(i64(link_) >> kUsesShift) & ~kUses);
  }
  // Free slots are a list.
  CapSlot* next_free() const {
    // SAFETY: set_next_free() put it there.
    return reinterpret_cast<CapSlot*>(scope);
  }
  void set_next_free(CapSlot* slot) {
    // SAFETY: for next_free().
    scope = reinterpret_cast<u64>(slot);
  }
  // Everything but the name.
  void fill(KObject& to, Rights with, u64 new_scope, const CapNode& from);
  void fill(const CapSlot& other) { object = other.object, scope = other.scope, link_ = other.link_; }

 private:
  static constexpr u64 kUses = 0x3f;
  static constexpr u32 kUsesShift = 16;
  u64 link_ = 0;  // rights in bits 0-15, FastUse in 16-21, bits 6-47 of the node's address (a multiple of 64) in 22-63
};
static_assert(sizeof(CapSlot) == 1 << CapSlot::kNumberShift);

// Where the chunks of a space are. A thread has a copy, for the fast paths.
struct CapDirectory {
  static constexpr u32 kSlotsPerChunk = kPageSize / sizeof(CapSlot);
  // From a slot's number in an index to the offset of its chunk's pointer.
  static constexpr u32 kOffsetShift = 9;
  static_assert(kSlotsPerChunk * sizeof(CapSlot*) == 1 << 10 && CapSlot::kNumberShift == 5);

  Atomic<u64> mask{0};  // of offsets among the pointers
  Atomic<CapSlot* const*> chunks{nullptr};

  // The one slot that an index can name.
  CapSlot& at(u64 index) const {
    // Masked, not checked: in bounds also under speculation. The mask first: pairs with use().
    const u64 offset = u32(index) >> kOffsetShift & mask.load(kAcquire);
    // SAFETY: masked to the pointers, then to the chunk.
    const char* pointers = reinterpret_cast<const char*>(chunks.load(kRelaxed));
    auto* chunk = *reinterpret_cast<CapSlot* const*>(pointers + offset);
    return chunk[index >> CapSlot::kNumberShift & (kSlotsPerChunk - 1)];
  }
  // `count`: a power of two, not less than before while anybody looks slots up.
  void use(CapSlot* const* pointers, u64 count) {
    chunks.store(pointers, kRelease);
    mask.store((count - 1) * sizeof(CapSlot*), kRelease);  // pairs with at()
  }
  void use(const CapDirectory& other) {
    const u64 other_mask = other.mask.load(kAcquire);
    chunks.store(other.chunks.load(kRelaxed), kRelease);
    mask.store(other_mask, kRelease);  // pairs with at()
  }
};

class CapSpace {
 public:
  static constexpr u32 kSlotsPerChunk = CapDirectory::kSlotsPerChunk;
  static constexpr u32 kChunks = kPageSize / sizeof(CapSlot*);
  static constexpr u32 kMaxSlots = kSlotsPerChunk * kChunks;
  static constexpr u32 kFewChunks = 8;

  CapSpace() = default;
  ~CapSpace() = default;
  void initialise(Cpu& cpu, KObject& owner);

  // A borrow, valid until the kernel is left or preempted. Errors: bad_capability.
  Result<CapSlot*> find(CapIndex index) const {
    CapSlot& slot = directory_.at(index.value);
    if (slot.name.load(kAcquire) != index.value) [[unlikely]]
      return Status::bad_capability;  // pairs with publish()
    return &slot;
  }
  // Errors: bad_capability, wrong_kind, missing_right.
  Result<CapSlot*> find(CapIndex index, ObjectKind kind, Rights needed) const {
    CapSlot* slot = TRY(find(index));
    if (slot->object->kind() != kind) return Status::wrong_kind;
    if ((slot->rights() & needed) != needed) return Status::missing_right;
    return slot;
  }

  // Puts the first capability to a new object into the space, with all of the rights given.
  // Errors: no_slot, no_memory, quota_exceeded; nothing changed then.
  Result<CapIndex> insert_root(Cpu& cpu, KObject& object, Rights rights, u64 scope);
  // Derives a child of `parent` (a live slot of some space; rights and scope were checked) into this space.
  // Errors: as above, revoked, too_deep.
  Result<CapIndex> insert_child(Cpu& cpu, CapSlot& parent, Rights rights, u64 scope);
  // Derives below `parent`, a node of the object's that need not be a capability. Errors: the same.
  Result<CapIndex> insert_below(Cpu& cpu, KObject& object, CapNode& parent, Rights rights, u64 scope);
  // Moves the capability in `slot` of `from` here. Its node stays where it is in the tree. Errors: no_slot, no_memory,
  // quota_exceeded, revoked (it is gone, or what was derived from it is being revoked).
  [[clang::preserve_most]] Result<CapIndex> move_from(Cpu& cpu, CapSpace& from, CapSlot& slot);
  // In line (space_inline.h), for fast paths: insert_root() or insert_below(); move_from(), of a slot that had this
  // live name, between spaces of one group.
  Result<CapIndex> insert(Cpu& cpu, KObject& object, CapNode* parent, Rights rights, u64 scope);
  Result<CapIndex> move(Cpu& cpu, CapSpace& from, CapSlot& slot, u64 name);
  // Gives a capability up. False: it was gone already.
  bool remove(Cpu& cpu, CapIndex index);
  // A revocation has just taken the node out of its tree, whose lock is held: so the space is not torn down yet. Clears
  // and frees the slot, unless somebody is about to do so; answers what is to be told to KObject::drop_handles().
  // over: whether the node can be freed at once (Grace::is_over()).
  std::optional<Rights> take_revoked(Cpu& cpu, CapNode& node, bool& over);

  // The first live slot at or after `cursor` (a slot number); null when none is left. Looks at up to 512 slots and says
  // in *cursor how far it came.
  CapSlot* next(u32* cursor) const;
  // The slot that an index names, live or not.
  CapSlot& slot(CapIndex index) const { return directory_.at(index.value); }
  u32 number_of(CapIndex index) const { return u32(index.value >> CapSlot::kNumberShift) & (kMaxSlots - 1); }

  u32 used() const { return used_.load(kRelaxed); }
  void set_limit(u32 limit) { limit_.store(limit, kRelaxed); }
  // The process that the space is part of.
  KObject& owner() const { return *owner_; }
  ResourceGroup& group() const { return owner_->group(); }
  u64 holder_id() const { return owner_->id(); }
  const CapDirectory& directory() const { return directory_; }
  // Chunks without a slot that could be live: for absent ones (I4) and new ones.
  static void make_empty(CapSlot* chunk, u32 first_number);

  // Gives everything up, a bounded part a call; true when done. Whoever inserts meanwhile gets bad_state.
  bool teardown_step(Cpu& cpu);

 private:
  CapSlot& slot_number(u32 number) const { return directory_.at(u64{number} << CapSlot::kNumberShift); }
  // In line, in space_inline.h: reserve() to clear(). What is rare there is called so that registers stay.
  // A slot that is no longer free and not yet live. Errors: no_slot, no_memory, quota_exceeded.
  Result<CapSlot*> reserve(Cpu& cpu);
  [[clang::preserve_most]] Result<CapSlot*> reserve_more(Cpu& cpu);  // the rare part
  [[clang::preserve_most]] void give_back(Cpu& cpu, CapSlot& slot);
  // `name`: the slot's, live or dead. `over`: what cpu.grace.is_over() says now that the slot is empty.
  void unreserve(Cpu& cpu, CapSlot& slot, u64 name);
  void unreserve_locked(Cpu& cpu, CapSlot& slot, u64 name, bool over) REQUIRES(lock_);
  void add_free(CapSlot& slot) REQUIRES(lock_) {
    slot.set_next_free(first_free_);
    first_free_ = &slot;
  }
  [[clang::preserve_most]] void gather(Cpu& cpu, CapSlot& slot) REQUIRES(lock_);
  void begin_sweep(Cpu& cpu) REQUIRES(lock_);
  bool sweep(Cpu& cpu);
  // Makes a slot that has been filled live. The tree lock is held, so that a revocation finds either no node or a live
  // slot.
  static CapIndex publish(CapSlot& slot, KObject& object) REQUIRES(object.tree_lock());
  Result<void> grow(Cpu& cpu) REQUIRES(lock_);
  // Replaces the small directory (I5). Errors: no_memory, quota_exceeded.
  Result<void> widen(Cpu& cpu) EXCLUDES(lock_);
  // Takes the name away (I2). True: the slot was live with this name; the caller owns what follows: retire().
  static bool clear(CapSlot& slot, u64 name);
  void retire(Cpu& cpu, CapSlot& slot, KObject& object, Rights rights);

  // Slots that were given up while others may still be reading them (I2): free after a grace period. Linked through the
  // numbers in their names, whose generations stay.
  class Sweep final : public Work {
   public:
    explicit Sweep(CapSpace& space) : space_(space) {}
    bool step(Cpu& cpu) override { return space_.sweep(cpu); }

   private:
    CapSpace& space_;
  };

  mutable SpinLock lock_{LockRank::cap_space, "capability space"};
  CapDirectory directory_;
  CapSlot** chunks_ GUARDED_BY(lock_) = few_;  // what the directory names
  KObject* owner_ = nullptr;
  CapSlot* first_free_ GUARDED_BY(lock_) = nullptr;
  u32 chunk_count_ GUARDED_BY(lock_) = 0;
  u32 gathered_ GUARDED_BY(lock_) = 0;  // the first for the next grace period
  u32 swept_ GUARDED_BY(lock_) = 0;     // the first of those whose period is under way
  u32 gathered_count_ GUARDED_BY(lock_) = 0;
  u32 swept_count_ GUARDED_BY(lock_) = 0;
  bool sweeping_ GUARDED_BY(lock_) = false;
  bool closed_ GUARDED_BY(lock_) = false;
  bool swept_all_ GUARDED_BY(lock_) = false;  // closed, and the last period has begun
  bool wide_ GUARDED_BY(lock_) = false;
  u32 cursor_ = 0;       // teardown
  Atomic<u32> used_{0};  // written under lock_
  Atomic<u32> limit_{kMaxSlots};
  CapSlot* few_[kFewChunks] = {};
  Sweep sweep_{*this};
};

}  // namespace keel
