#include "kernel/cap/space_inline.h"

#include <arch/context.h>
#include <arch/memory.h>

#include "kernel/core/machine.h"
#include "kernel/core/process.h"
#include "kernel/group/group.h"
#include "kernel/mm/frames.h"

namespace keel {

void CapSpace::make_empty(CapSlot* chunk, u32 first_number) {
  for (u32 i = 0; i < kSlotsPerChunk; ++i) {
    new (&chunk[i]) CapSlot(CapSlot::dead(CapSlot::make_name(0, first_number + i)));
  }
}

void CapSpace::initialise(Cpu& cpu, KObject& owner) {
  owner_ = &owner;
  for (CapSlot*& chunk : few_) chunk = cpu.machine.empty_chunk();  // I4
  directory_.use(few_, kFewChunks);
}

Result<void> CapSpace::widen(Cpu& cpu) {
  FrameAllocator& frames = cpu.machine.frames;
  Frame* frame = TRY(frames.allocate(cpu, group(), 0));
  auto* wide = static_cast<CapSlot**>(phys_to_virt(frames.address(frame)));
  for (u32 i = 0; i < kChunks; ++i) wide[i] = i < kFewChunks ? few_[i] : cpu.machine.empty_chunk();
  {
    LockGuard guard(cpu, lock_);
    if (chunks_ == few_) {
      chunks_ = wide;
      directory_.use(chunks_, kChunks);
      frame = nullptr;
    }
  }
  if (frame != nullptr) frames.free(cpu, group(), frame);  // another CPU was first
  static_cast<Process*>(owner_)->use_directory(cpu, directory_);
  LockGuard guard(cpu, lock_);
  wide_ = true;
  return {};
}

Result<void> CapSpace::grow(Cpu& cpu) {
  if (chunk_count_ == kChunks) return Status::no_slot;
  FrameAllocator& frames = cpu.machine.frames;
  Frame* frame = TRY(frames.allocate(cpu, group(), 0));
  auto* chunk = static_cast<CapSlot*>(phys_to_virt(frames.address(frame)));
  const u32 base = chunk_count_ * kSlotsPerChunk;
  make_empty(chunk, base);
  for (u32 i = 0; i + 1 < kSlotsPerChunk; ++i) chunk[i].set_next_free(&chunk[i + 1]);
  // Slot 0 of the space is never given out, so that index 0 names nothing.
  first_free_ = base == 0 ? &chunk[1] : chunk;
  thread_fence(kRelease);  // whoever finds the chunk finds its names: an index of 0 would be live in a zeroed one
  chunks_[chunk_count_++] = chunk;
  return {};
}

// A dead slot's name has room for the number of another: where numbers have no place.
namespace {
constexpr u64 kChainBits = 0xffe0'001f;
constexpr u64 chain(u32 number) { return u64{number & 0x1f} | u64{number >> 5} << 21; }
constexpr u32 chained(u64 name) { return u32(name & 0x1f) | u32(name >> 21 & 0x7ff) << 5; }
}  // namespace

[[clang::preserve_most]] void CapSpace::gather(Cpu& cpu, CapSlot& slot) {
  const u64 name = slot.name.load(kRelaxed);
  slot.name.store(name | chain(gathered_), kRelaxed);
  gathered_ = number_of(CapIndex(CapSlot::dead(name)));
  ++gathered_count_;
  if (!sweeping_) begin_sweep(cpu);
}

void CapSpace::begin_sweep(Cpu& cpu) {
  sweeping_ = true;
  swept_ = gathered_;
  swept_count_ = gathered_count_;
  gathered_count_ = 0;
  owner_->add_ref();
  cpu.grace.retire(cpu, sweep_);
}

bool CapSpace::sweep(Cpu& cpu) {
  {
    LockGuard guard(cpu, lock_);
    for (u32 i = 0; i < 64 && swept_count_ > 0; ++i, --swept_count_) {
      CapSlot& slot = slot_number(swept_);
      const u64 name = slot.name.load(kRelaxed);
      swept_ = chained(name);
      slot.name.store(name & ~kChainBits, kRelaxed);
      add_free(slot);
    }
    if (swept_count_ > 0) return false;
    sweeping_ = false;
    if (gathered_count_ > 0) begin_sweep(cpu);
  }
  owner_->drop_ref();
  return true;
}

[[clang::preserve_most]] Result<CapSlot*> CapSpace::reserve_more(Cpu& cpu) {
  bool narrow = false;
  {
    LockGuard guard(cpu, lock_);
    if (used_.load(kRelaxed) >= limit_.load(kRelaxed)) return Status::no_slot;
    narrow = chunk_count_ == kFewChunks && !wide_;
    if (first_free_ == nullptr && !narrow) TRY(grow(cpu));
  }
  if (narrow) TRY(widen(cpu));
  return reserve(cpu);
}

Result<CapIndex> CapSpace::insert_root(Cpu& cpu, KObject& object, Rights rights, u64 scope) {
  return insert(cpu, object, nullptr, rights, scope);
}

Result<CapIndex> CapSpace::insert_child(Cpu& cpu, CapSlot& parent, Rights rights, u64 scope) {
  return insert(cpu, *parent.object, parent.node(), rights, scope);
}

Result<CapIndex> CapSpace::insert_below(Cpu& cpu, KObject& object, CapNode& parent, Rights rights, u64 scope) {
  return insert(cpu, object, &parent, rights, scope);
}

[[clang::preserve_most]] void CapSpace::give_back(Cpu& cpu, CapSlot& slot) {
  unreserve(cpu, slot, slot.name.load(kRelaxed));
}

void CapSpace::retire(Cpu& cpu, CapSlot& slot, KObject& object, Rights rights) {
  give_back(cpu, slot);
  object.drop_handle(cpu, rights);
}

[[clang::preserve_most]] Result<CapIndex> CapSpace::move_from(Cpu& cpu, CapSpace& from, CapSlot& slot) {
  const u64 name = slot.name.load(kAcquire);
  if (!slot.is_live(name)) return Status::revoked;
  ResourceGroup& giver = from.group();
  ResourceGroup& taker = group();
  constexpr u64 kCharge = KernelHeap::charge_of<sizeof(CapNode)>();
  // The node goes along and changes its payer: the receiver is charged before the giver is relieved.
  if (&giver != &taker) TRY(taker.charge(Resource::kernel_bytes, kCharge));
  const Result<CapIndex> moved = move(cpu, from, slot, name);
  if (&giver != &taker) (moved.has_value() ? giver : taker).uncharge(Resource::kernel_bytes, kCharge);
  return moved;
}

bool CapSpace::remove(Cpu& cpu, CapIndex index) {
  Result<CapSlot*> found = find(index);
  if (!found.has_value()) return false;
  CapSlot& slot = **found;
  if (!clear(slot, index.value)) return false;
  KObject& object = *slot.object;
  object.add_ref();  // until the handle is dropped
  const Rights rights = slot.rights();
  (void)release_slot_node(cpu, *slot.node());  // false: a revocation frees the node
  retire(cpu, slot, object, rights);
  object.drop_ref();
  return true;
}

CapSlot* CapSpace::next(u32* cursor) const {
  for (u32 looked = 0; looked < 512 && *cursor < kMaxSlots; ++looked, ++*cursor) {
    CapSlot& slot = slot_number(*cursor);
    const CapIndex index = slot.index();
    if (number_of(index) == *cursor && slot.is_live(index.value)) return &slot;  // not another's place in a small table
  }
  return nullptr;
}

bool CapSpace::teardown_step(Cpu& cpu) {
  FrameAllocator& frames = cpu.machine.frames;
  u32 slots = 0;
  {
    LockGuard guard(cpu, lock_);
    closed_ = true;
    slots = chunk_count_ * kSlotsPerChunk;
  }
  u32 removed = 0;
  for (u32 looked = 0; cursor_ < slots; ++cursor_, ++looked) {
    if (removed == 8 || looked == 32) return false;
    CapSlot& slot = slot_number(cursor_);
    const u64 name = slot.name.load(kAcquire);
    if (!slot.is_live(name)) continue;
    if (!finish_revoke(cpu, *slot.node(), 16)) return false;  // law 3: the process died in the middle of it
    (void)remove(cpu, CapIndex(name));
    ++removed;
  }
  LockGuard guard(cpu, lock_);
  // Others may still be looking for what they will not find: the tables stay for a period after the last slot died.
  if (sweeping_) {
    arch::relax();
    return false;
  }
  if (chunk_count_ > 0 && !cpu.grace.is_over(cpu) && !swept_all_) {
    swept_all_ = true;
    begin_sweep(cpu);
    return false;
  }
  for (u32 i = 0; i < chunk_count_; ++i) frames.free(cpu, group(), frames.frame(virt_to_phys(chunks_[i])));
  if (chunks_ != few_) frames.free(cpu, group(), frames.frame(virt_to_phys(chunks_)));
  chunks_ = few_;
  chunk_count_ = 0;
  first_free_ = nullptr;
  initialise(cpu, *owner_);
  return true;
}

}  // namespace keel
