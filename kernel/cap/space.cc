#include "kernel/cap/space.h"

#include <arch/memory.h>

#include "kernel/core/cpu.h"
#include "kernel/core/machine.h"
#include "kernel/core/process.h"
#include "kernel/group/group.h"
#include "kernel/mm/frames.h"
#include "kernel/mm/heap.h"

namespace keel {
namespace {

u8 uses_of(ObjectKind kind, Rights rights, u64 scope) {
  u32 uses = 0;
  if (kind == ObjectKind::port) {
    if ((rights & rights::port::call) != 0) uses |= u32(FastUse::call);
    if ((rights & rights::port::receive) != 0) uses |= u32(FastUse::receive);
  } else if (kind == ObjectKind::notification) {
    if ((rights & rights::notification::signal) != 0 && scope == 0) uses |= u32(FastUse::signal);
    if ((rights & rights::notification::wait) != 0) uses |= u32(FastUse::wait);
  }
  return u8(uses);
}

}  // namespace

void CapSlot::fill(KObject& to, Rights with, u64 new_scope, const CapNode& from) {
  object = &to;
  scope = new_scope;
  // SAFETY: see node().
  link_ = (reinterpret_cast<u64>(&from) & kNodeBits) | u64{with} << 48 | uses_of(to.kind(), with, new_scope);
}

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
  // Slot 0 of the space is never given out, so that index 0 names nothing.
  first_free_ = base == 0 ? 1 : base;
  for (u32 i = 0; i < kSlotsPerChunk; ++i) chunk[i].scope = i + 1 < kSlotsPerChunk ? base + i + 1 : kNone;
  thread_fence(kRelease);  // whoever finds the chunk finds its names: an index of 0 would be live in a zeroed one
  chunks_[chunk_count_++] = chunk;
  return {};
}

Result<u32> CapSpace::reserve(Cpu& cpu) {
  for (;;) {
    {
      LockGuard guard(cpu, lock_);
      if (closed_) return Status::bad_state;
      const u32 used = used_.load(kRelaxed);
      if (used >= limit_.load(kRelaxed)) return Status::no_slot;
      if (first_free_ == kNone && (chunk_count_ != kFewChunks || wide_)) TRY(grow(cpu));
      if (first_free_ != kNone) {
        const u32 number = first_free_;
        first_free_ = u32(slot_number(number).scope);
        used_.store(used + 1, kRelaxed);
        return number;
      }
    }
    TRY(widen(cpu));
  }
}

void CapSpace::add_free(u32 number) {
  slot_number(number).scope = first_free_;
  first_free_ = number;
}

void CapSpace::unreserve(Cpu& cpu, u32 number) {
  LockGuard guard(cpu, lock_);
  CapSlot& slot = slot_number(number);
  used_.store(used_.load(kRelaxed) - 1, kRelaxed);
  // I1: a slot whose generations are used up stays out of the free list.
  const u32 generation = CapSlot::generation(slot.name.load(kRelaxed));
  if (generation == ~u32{0}) return;
  if (cpu.grace.is_over(cpu)) return add_free(number);
  // No slot comes after itself, so the name stays one that no index finds.
  if (gathered_count_++ > 0) slot.name.store(CapSlot::make_name(generation, gathered_), kRelaxed);
  gathered_ = number;
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
      const u32 number = swept_;
      CapSlot& slot = slot_number(number);
      const u64 name = slot.name.load(kRelaxed);
      swept_ = u32(name >> CapSlot::kNumberShift) & (kMaxSlots - 1);
      slot.name.store(CapSlot::dead(CapSlot::make_name(CapSlot::generation(name), number)), kRelaxed);
      add_free(number);
    }
    if (swept_count_ > 0) return false;
    sweeping_ = false;
    if (gathered_count_ > 0) begin_sweep(cpu);
  }
  owner_->drop_ref();
  return true;
}

CapIndex CapSpace::publish(u32 number, KObject& object, Rights rights, u64 scope, CapNode& node) {
  CapSlot& slot = slot_number(number);
  slot.fill(object, rights, scope, node);
  node.holder = this;
  node.slot = number;
  const u64 name = CapSlot::make_name(CapSlot::generation(slot.name.load(kRelaxed)) + 1, number);
  slot.name.store(name, kRelease);  // pairs with find()
  return CapIndex(name);
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
  return insert(cpu, *parent.object, parent.node(), rights, scope);
}

bool CapSpace::clear(CapSlot& slot, u64 name) {
  return slot.name.compare_exchange(&name, CapSlot::dead(name), kAcqRel);  // pairs with find()
}

void CapSpace::retire(Cpu& cpu, u32 number, KObject& object, Rights rights) {
  unreserve(cpu, number);
  object.drop_handle(cpu, rights);
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
  CapNode& node = *slot.node();
  ResourceGroup* relieved = &from.group();
  u32 old_number = 0;
  bool moved = false;
  CapIndex index;
  {
    LockGuard guard(cpu, object.tree_lock());
    if (node.linked() && !node.dying) {
      old_number = u32(node.slot);
      const u64 name = slot.name.load(kAcquire);
      moved = is_live(old_number, name) && clear(slot, name);
      if (moved) index = publish(number, object, slot.rights(), slot.scope, node);
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
  if (!clear(slot, index.value)) return false;
  KObject& object = *slot.object;
  object.add_ref();  // until the handle is dropped
  const Rights rights = slot.rights();
  (void)release_slot_node(cpu, *slot.node());  // false: a revocation frees the node
  retire(cpu, number_of(index), object, rights);
  object.drop_ref();
  return true;
}

bool CapSpace::clear_revoked(CapNode& node) {
  const u32 number = u32(node.slot);
  CapSlot& slot = slot_number(number);
  const u64 name = slot.name.load(kAcquire);
  return slot.node() == &node && is_live(number, name) && clear(slot, name);
}

void CapSpace::retire_revoked(Cpu& cpu, CapNode& node) {
  const u32 number = u32(node.slot);
  retire(cpu, number, *node.object, slot_number(number).rights());
}

CapSlot* CapSpace::next(u32* cursor) const {
  for (u32 looked = 0; looked < 512 && *cursor < kMaxSlots; ++looked, ++*cursor) {
    CapSlot& slot = slot_number(*cursor);
    if (is_live(*cursor, slot.name.load(kAcquire))) return &slot;
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
    if (removed == 16 || looked == 512) return false;
    CapSlot& slot = slot_number(cursor_);
    const u64 name = slot.name.load(kAcquire);
    if (!is_live(cursor_, name)) continue;
    if (!finish_revoke(cpu, *slot.node(), 16)) return false;  // law 3: the process died in the middle of it
    (void)remove(cpu, CapIndex(name));
    ++removed;
  }
  LockGuard guard(cpu, lock_);
  // Others may still be looking for what they will not find: the tables stay for a period after the last slot died.
  if (sweeping_) return false;
  if (chunk_count_ > 0 && !cpu.grace.is_over(cpu) && !swept_all_) {
    swept_all_ = true;
    begin_sweep(cpu);
    return false;
  }
  for (u32 i = 0; i < chunk_count_; ++i) frames.free(cpu, group(), frames.frame(virt_to_phys(chunks_[i])));
  if (chunks_ != few_) frames.free(cpu, group(), frames.frame(virt_to_phys(chunks_)));
  chunks_ = few_;
  chunk_count_ = 0;
  first_free_ = kNone;
  initialise(cpu, *owner_);
  return true;
}

}  // namespace keel
