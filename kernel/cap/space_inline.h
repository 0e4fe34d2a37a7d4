// The parts of CapSpace that the fast path of derivation and transfer has in line (kernel/ipc/fast_capabilities.cc).
#pragma once

#include "kernel/cap/space.h"
#include "kernel/core/machine.h"
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
  link_ = reinterpret_cast<u64>(&from) << kUsesShift | with | fast_uses(to.kind(), with, new_scope) << kUsesShift;
}

[[gnu::always_inline]] inline Result<CapSlot*> CapSpace::reserve(Cpu& cpu) {
  {
    LockGuard guard(cpu, lock_);
    CapSlot* slot = first_free_;  // null when the space is closed
    if (used_.load(kRelaxed) < limit_.load(kRelaxed) && slot != nullptr) [[likely]] {
      first_free_ = slot->next_free();
      used_.store(used_.load(kRelaxed) + 1, kRelaxed);
      return slot;
    }
  }
  return reserve_more(cpu);
}

[[gnu::always_inline]] inline void CapSpace::unreserve(Cpu& cpu, CapSlot& slot, u64 name) {
  LockGuard guard(cpu, lock_);
  unreserve_locked(cpu, slot, name, cpu.grace.is_over_after(cpu));
}

[[gnu::always_inline]] inline void CapSpace::unreserve_locked(Cpu& cpu, CapSlot& slot, u64 name, bool over) {
  used_.store(used_.load(kRelaxed) - 1, kRelaxed);
  if (CapSlot::is_last(name)) [[unlikely]]
    return;  // I1
  if (over) [[likely]] {
    add_free(slot);
  } else {
    gather(cpu, slot);  // others may still be reading it
  }
}

[[gnu::always_inline]] inline CapIndex CapSpace::publish(CapSlot& slot, KObject&) {
  const u64 name = CapSlot::next(slot.name.load(kRelaxed));
  slot.name.store(name, kRelease);  // pairs with find()
  return CapIndex(name);
}

[[gnu::always_inline]] inline Result<CapIndex> CapSpace::insert(Cpu& cpu, KObject& object, CapNode* parent,
                                                                Rights rights, u64 scope) {
  CapSlot& slot = *TRY(reserve(cpu));
  ResourceGroup& payer = group();
  Result<void*> memory = cpu.machine.heap.allocate_small<sizeof(CapNode)>(cpu, payer);
  if (!memory.has_value()) [[unlikely]] {
    give_back(cpu, slot);
    return memory.status();
  }
  auto* node = new (*memory) CapNode();
  Status failed = Status::ok;
  {
    LockGuard guard(cpu, object.tree_lock());
    failed = link_child_locked(object, parent, *node, NodeKind::slot).status();
    if (failed == Status::ok) [[likely]] {
      object.add_handle(rights);
      node->holder = this;
      node->slot = &slot;
      slot.fill(object, rights, scope, *node);
      return publish(slot, object);
    }
  }
  destroy_object(cpu, payer, node);
  give_back(cpu, slot);
  return failed;
}

inline bool CapSpace::clear(CapSlot& slot, u64 name) {
  return slot.name.compare_exchange(&name, CapSlot::dead(name), kSeqCst);  // pairs with find(); and see is_over_after()
}

[[gnu::always_inline]] inline std::optional<Rights> CapSpace::take_revoked(Cpu& cpu, CapNode& node, bool& over) {
  LockGuard guard(cpu, lock_);
  CapSlot& slot = *node.slot;
  const u64 name = slot.name.load(kAcquire);
  const bool taken = slot.node() == &node && slot.is_live(name) && clear(slot, name);
  over = cpu.grace.is_over(cpu);
  if (!taken) [[unlikely]]
    return std::nullopt;
  const Rights rights = slot.rights();
  unreserve_locked(cpu, slot, name, over);
  return rights;
}

[[gnu::always_inline]] inline Result<CapIndex> CapSpace::move(Cpu& cpu, CapSpace& from, CapSlot& slot, u64 name) {
  KObject& object = *slot.object;
  CapNode& node = *slot.node();
  CapSlot& place = *TRY(reserve(cpu));
  CapIndex index;
  bool moved = false;
  {
    LockGuard guard(cpu, object.tree_lock());
    // A name that is live now has its node in the tree: who takes nodes out takes the names first, or under this lock.
    if (!node.dying && clear(slot, name)) [[likely]] {
      node.holder = this;
      node.slot = &place;
      place.fill(slot);
      index = publish(place, object);
      moved = true;
    }
  }
  if (!moved) [[unlikely]] {
    give_back(cpu, place);
    return Status::revoked;
  }
  from.unreserve(cpu, slot, name);
  return index;
}

}  // namespace keel
