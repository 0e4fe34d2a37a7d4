#include "kernel/cap/space.h"

#include <arch/memory.h>

#include "kernel/core/cpu.h"
#include "kernel/core/machine.h"
#include "kernel/group/group.h"
#include "kernel/mm/frames.h"
#include "kernel/mm/heap.h"

namespace keel {

Result<void> CapSpace::initialise(Cpu& cpu, KObject& owner) {
  owner_ = &owner;
  FrameAllocator& frames = cpu.machine.frames;
  Frame* frame = TRY(frames.allocate(cpu, group(), 0));
  auto* directory = static_cast<CapSlot**>(phys_to_virt(frames.address(frame)));
  for (u32 i = 0; i < kChunks; ++i) directory[i] = cpu.machine.empty_chunk();  // I4
  directory_ = directory;
  return {};
}

Result<void> CapSpace::grow(Cpu& cpu) {
  if (chunks_ == kChunks) return Status::no_slot;
  FrameAllocator& frames = cpu.machine.frames;
  Frame* frame = TRY(frames.allocate(cpu, group(), 0));
  auto* chunk = static_cast<CapSlot*>(phys_to_virt(frames.address(frame)));
  u32 base = chunks_ * kSlotsPerChunk;
  for (u32 i = 0; i < kSlotsPerChunk; ++i) {
    new (&chunk[i]) CapSlot();
    // Slot 0 of the space is never given out, so that index 0 names nothing whatever its generation.
    chunk[i].scope = i + 1 < kSlotsPerChunk ? base + i + 1 : first_free_;
  }
  first_free_ = base == 0 ? 1 : base;
  directory_[chunks_++] = chunk;
  return {};
}

Result<u32> CapSpace::reserve(Cpu& cpu) {
  LockGuard guard(cpu, lock_);
  if (used() >= limit_.load(kRelaxed)) return Status::no_slot;
  if (first_free_ == kNone) TRY(grow(cpu));
  u32 number = first_free_;
  CapSlot& slot = slot_at(number << kNumberShift);
  first_free_ = u32(slot.scope);
  used_.fetch_add(1, kRelaxed);
  return number;
}

void CapSpace::unreserve(Cpu& cpu, u32 number) {
  LockGuard guard(cpu, lock_);
  CapSlot& slot = slot_at(number << kNumberShift);
  used_.fetch_sub(1, kRelaxed);
  // I1: a slot whose generations are used up stays out of the free list.
  if (CapSlot::generation(slot.load()) == ~u32{0}) return;
  slot.scope = first_free_;
  first_free_ = number;
}

CapIndex CapSpace::publish(u32 number, KObject& object, Rights rights, u64 scope, CapNode& node) {
  CapSlot& slot = slot_at(number << kNumberShift);
  slot.object = &object;
  slot.scope = scope;
  slot.node = &node;
  node.holder = this;
  node.slot = number;
  u32 generation = CapSlot::generation(slot.load()) + 1;
  slot.header.store(CapSlot::make_header(generation, rights, object.kind()), kRelease);  // pairs with CapSlot::load()
  return index_of(number, slot);
}

Result<CapIndex> CapSpace::insert(Cpu& cpu, KObject& object, CapNode* parent, Rights rights, u64 scope) {
  u32 number = TRY(reserve(cpu));
  auto node = make<CapNode>(cpu, group());
  if (!node.has_value()) {
    unreserve(cpu, number);
    return node.status();
  }
  Result<CapIndex> index = Status::revoked;
  {
    LockGuard guard(cpu, object.tree_lock());
    Result<void> linked = link_child_locked(object, parent, **node, NodeKind::slot);
    if (linked.has_value()) {
      object.add_handle(rights);
      index = publish(number, object, rights, scope, **node);
    } else {
      index = linked.status();
    }
  }
  if (!index.has_value()) {
    destroy_object(cpu, group(), *node);
    unreserve(cpu, number);
  }
  return index;
}

Result<CapIndex> CapSpace::insert_root(Cpu& cpu, KObject& object, Rights rights, u64 scope) {
  return insert(cpu, object, nullptr, rights, scope);
}

Result<CapIndex> CapSpace::insert_child(Cpu& cpu, CapSlot& parent, Rights rights, u64 scope) {
  return insert(cpu, *parent.object, parent.node, rights, scope);
}

Result<CapIndex> CapSpace::insert_below(Cpu& cpu, KObject& object, CapNode& parent, Rights rights, u64 scope) {
  return insert(cpu, object, &parent, rights, scope);
}

u64 CapSpace::clear(CapSlot& slot) {
  u64 header = slot.load();
  // The generation stays, so that the next capability in the slot gets a new one.
  while (!slot.header.compare_exchange(&header, header & ~u64{0xffffffff}, kAcqRel)) {
  }  // pairs with CapSlot::load()
  return header;
}

void CapSpace::retire(Cpu& cpu, u32 number, KObject& object, u64 header) {
  unreserve(cpu, number);
  object.drop_handle(cpu, CapSlot::rights(header));
}

Result<CapIndex> CapSpace::move_from(Cpu& cpu, CapSpace& from, CapSlot& slot) {
  u32 number = TRY(reserve(cpu));
  // The node goes along and changes its payer: the receiver is charged before the giver is relieved.
  if (&from.group() != &group()) {
    Result<void> charged = group().charge(Resource::kernel_bytes, sizeof(CapNode));
    if (!charged.has_value()) {
      unreserve(cpu, number);
      return charged.status();
    }
  }
  KObject& object = *slot.object;
  CapNode& node = *slot.node;
  ResourceGroup* relieved = &from.group();
  u32 old_number = 0;
  bool moved = false;
  CapIndex index;
  {
    LockGuard guard(cpu, object.tree_lock());
    if (node.linked() && !node.dying) {
      u64 header = clear(slot);
      if (CapSlot::kind(header) != ObjectKind::none) {
        old_number = u32(node.slot);
        index = publish(number, object, CapSlot::rights(header), slot.scope, node);
        moved = true;
      }
    }
  }
  if (moved) {
    from.unreserve(cpu, old_number);
  } else {
    relieved = &group();
    unreserve(cpu, number);
  }
  if (&from.group() != &group()) relieved->uncharge(Resource::kernel_bytes, sizeof(CapNode));
  if (!moved) return Status::revoked;
  return index;
}

bool CapSpace::remove(Cpu& cpu, CapIndex index) {
  Result<CapSlot*> found = find(index);
  if (!found.has_value()) return false;
  CapSlot& slot = **found;
  u64 header = clear(slot);
  if (CapSlot::kind(header) == ObjectKind::none) return false;
  KObject& object = *slot.object;
  object.add_ref();  // until the handle is dropped
  CapNode& node = *slot.node;
  (void)release_slot_node(cpu, node);  // false: a revocation frees the node
  retire(cpu, number_of(index), object, header);
  object.drop_ref();
  return true;
}

void CapSpace::clear_revoked(Cpu& cpu, CapNode& node) {
  u32 number = u32(node.slot);
  CapSlot& slot = slot_at(number << kNumberShift);
  if (slot.node != &node) return;
  u64 header = clear(slot);
  if (CapSlot::kind(header) != ObjectKind::none) retire(cpu, number, *node.object, header);
}

CapSlot* CapSpace::next(u32* cursor) const {
  for (u32 looked = 0; looked < 512 && *cursor < kMaxSlots; ++looked, ++*cursor) {
    CapSlot& slot = slot_at(*cursor << kNumberShift);
    if (CapSlot::kind(slot.load()) != ObjectKind::none) return &slot;
  }
  return nullptr;
}

bool CapSpace::teardown_step(Cpu& cpu) {
  FrameAllocator& frames = cpu.machine.frames;
  if (directory_ == nullptr) return true;
  u32 slots = 0;
  {
    LockGuard guard(cpu, lock_);
    slots = chunks_ * kSlotsPerChunk;
  }
  u32 removed = 0;
  for (u32 looked = 0; cursor_ < slots; ++cursor_, ++looked) {
    if (removed == 16 || looked == 512) return false;
    CapSlot& slot = slot_at(cursor_ << kNumberShift);
    if (CapSlot::kind(slot.load()) == ObjectKind::none) continue;
    if (!finish_revoke(cpu, *slot.node, 16)) return false;  // law 3: the process died in the middle of it
    (void)remove(cpu, index_of(cursor_, slot));
    ++removed;
  }
  LockGuard guard(cpu, lock_);
  for (u32 i = 0; i < chunks_; ++i) frames.free(cpu, group(), frames.frame(virt_to_phys(directory_[i])));
  frames.free(cpu, group(), frames.frame(virt_to_phys(directory_)));
  chunks_ = 0;
  first_free_ = kNone;
  directory_ = nullptr;
  return true;
}

}  // namespace keel
