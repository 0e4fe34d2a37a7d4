// The parts of CapSpace that the fast path of derivation and transfer has in line (kernel/ipc/fast_capabilities.cc).
#pragma once

#include "kernel/cap/space.h"
#include "kernel/core/cpu.h"
#include "kernel/group/group.h"
#include "kernel/mm/heap_inline.h"

namespace keel {

constexpr u32 fast_uses(ObjectKind kind, Rights rights, u64 scope) {
  u32 uses = 0;
  if (kind == ObjectKind::port) {
    if ((rights & rights::port::call) != 0) uses |= u32(FastUse::call);
    if ((rights & rights::port::receive) != 0) uses |= u32(FastUse::receive);
  } else if (kind == ObjectKind::notification) {
    if ((rights & rights::notification::signal) != 0 && scope == 0) uses |= u32(FastUse::signal);
    if ((rights & rights::notification::wait) != 0) uses |= u32(FastUse::wait);
  }
  return uses;
}

[[gnu::always_inline]] inline void CapSlot::fill(KObject& to, Rights with, u64 new_scope, const CapNode& from) {
  object = &to;
  scope = new_scope;
  // SAFETY: see node().
  link_ = (reinterpret_cast<u64>(&from) & kNodeBits) | u64{with} << 48 | fast_uses(to.kind(), with, new_scope);
}

[[gnu::always_inline]] inline Result<CapSpace::Reserved> CapSpace::reserve(Cpu& cpu) {
  {
    LockGuard guard(cpu, lock_);
    const u32 used = used_.load(kRelaxed);
    const u32 number = first_free_;
    if (used < limit_.load(kRelaxed) && number != kNone) [[likely]] {
      CapSlot& slot = slot_number(number);
      first_free_ = u32(slot.scope);
      used_.store(used + 1, kRelaxed);
      return Reserved{&slot, number};
    }
  }
  return reserve_more(cpu);
}

[[gnu::always_inline]] inline void CapSpace::unreserve(Cpu& cpu, u32 number, CapSlot& slot) {
  LockGuard guard(cpu, lock_);
  unreserve_locked(number, slot);
}

[[gnu::always_inline]] inline void CapSpace::unreserve_locked(u32 number, CapSlot& slot) {
  used_.store(used_.load(kRelaxed) - 1, kRelaxed);
  // I1: a slot whose generations are used up stays out of the free list.
  if (CapSlot::generation(slot.name.load(kRelaxed)) == ~u32{0}) [[unlikely]] return;
  slot.scope = first_free_;
  first_free_ = number;
}

[[gnu::always_inline]] inline CapIndex CapSpace::publish(const Reserved& place, KObject& object, Rights rights, u64 scope,
                                                         CapNode& node) {
  CapSlot& slot = *place.slot;
  slot.fill(object, rights, scope, node);
  node.holder = this;
  node.slot = place.number;
  const u64 name = CapSlot::make_name(CapSlot::generation(slot.name.load(kRelaxed)) + 1, place.number);
  slot.name.store(name, kRelease);  // pairs with find()
  return CapIndex(name);
}

[[gnu::always_inline]] inline Result<CapIndex> CapSpace::insert(Cpu& cpu, KObject& object, CapNode* parent,
                                                                Rights rights, u64 scope) {
  const Reserved place = TRY(reserve(cpu));
  ResourceGroup& payer = group();
  Result<void*> memory = cpu.machine.heap.allocate_small<sizeof(CapNode)>(cpu, payer);
  if (!memory.has_value()) [[unlikely]] {
    unreserve(cpu, place.number, *place.slot);
    return memory.status();
  }
  auto* node = new (*memory) CapNode();
  Status failed = Status::ok;
  {
    LockGuard guard(cpu, object.tree_lock());
    failed = link_child_locked(object, parent, *node, NodeKind::slot).status();
    if (failed == Status::ok) [[likely]] {
      object.add_handle(rights);
      return publish(place, object, rights, scope, *node);
    }
  }
  destroy_object(cpu, payer, node);
  unreserve(cpu, place.number, *place.slot);
  return failed;
}

inline bool CapSpace::clear(CapSlot& slot, u64 name) {
  return slot.name.compare_exchange(&name, CapSlot::dead(name), kAcqRel);  // pairs with find()
}

[[gnu::always_inline]] inline std::optional<Rights> CapSpace::take_revoked(Cpu& cpu, CapNode& node) {
  LockGuard guard(cpu, lock_);
  const u32 number = u32(node.slot);
  CapSlot& slot = slot_number(number);
  const u64 name = slot.name.load(kAcquire);
  if (slot.node() != &node || !is_live(number, name) || !clear(slot, name)) [[unlikely]] return std::nullopt;
  unreserve_locked(number, slot);
  return slot.rights();
}

[[gnu::always_inline]] inline Result<CapIndex> CapSpace::move(Cpu& cpu, CapSpace& from, CapSlot& slot) {
  const Reserved place = TRY(reserve(cpu));
  // The node goes along and changes its payer: the receiver is charged before the giver is relieved.
  ResourceGroup* relieved = &from.group();
  const bool same_payer = relieved == &group();
  if (!same_payer) {
    Result<void> charged = group().charge(Resource::kernel_bytes, sizeof(CapNode));
    if (!charged.has_value()) {
      unreserve(cpu, place.number, *place.slot);
      return charged.status();
    }
  }
  KObject& object = *slot.object;
  CapNode& node = *slot.node();
  u32 old_number = 0;
  bool moved = false;
  CapIndex index;
  {
    LockGuard guard(cpu, object.tree_lock());
    if (node.linked() && !node.dying) {
      old_number = u32(node.slot);
      const u64 name = slot.name.load(kAcquire);
      moved = is_live(old_number, name) && clear(slot, name);
      if (moved) index = publish(place, object, slot.rights(), slot.scope, node);
    }
  }
  if (moved) [[likely]] {
    from.unreserve(cpu, old_number, slot);
  } else {
    relieved = &group();
    unreserve(cpu, place.number, *place.slot);
  }
  if (!same_payer) relieved->uncharge(Resource::kernel_bytes, sizeof(CapNode));
  if (!moved) return Status::revoked;
  return index;
}

}  // namespace keel
