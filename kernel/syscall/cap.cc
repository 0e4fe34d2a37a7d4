// Capability calls.
#include "kernel/cap/audit.h"
#include "kernel/cap/lease.h"
#include "kernel/syscall/handlers.h"
#include "kernel/syscall/objects.h"
#include "kernel/syscall/scope.h"

namespace keel::sys {
namespace {

constexpr u32 kLeavesPerStep = 48;

u64 kind_and_rights(u64 header) { return u64(CapSlot::kind(header)) | u64{CapSlot::rights(header)} << 16; }

// What a derivation from `slot` with these wishes gets. Errors: missing_right, invalid_argument, out_of_range.
struct Narrowed {
  Rights rights;
  u64 scope;
};
Result<Narrowed> narrow(const CapSlot& slot, u64 wanted_rights, u64 wanted_scope) {
  u64 header = slot.load();
  Rights have = CapSlot::rights(header);
  if (wanted_rights > 0xffff) return Status::invalid_argument;
  if ((wanted_rights & ~u64{have}) != 0) return Status::missing_right;
  u64 scope = TRY(narrow_scope(CapSlot::kind(header), have, slot.scope, wanted_scope));
  return Narrowed{Rights(wanted_rights), scope};
}

}  // namespace

Result<CapIndex> cap_derive(CallContext& c, CapIndex capability, u64 rights, u64 scope) {
  return cap_derive_until(c, capability, rights, scope, kForever);
}

Result<CapIndex> cap_derive_until(CallContext& c, CapIndex capability, u64 rights, u64 scope, Deadline expiry) {
  CapSlot* slot = TRY(c.caps().find(capability));
  if ((CapSlot::rights(slot->load()) & rights::derive) == 0) return Status::missing_right;
  Narrowed narrowed = TRY(narrow(*slot, rights, scope));
  KObject& object = *slot->object;
  CapNode* parent = slot->node();
  Lease* lease = nullptr;
  if (expiry != kForever) {
    if (expiry.value <= c.cpu.now_ns()) return Status::invalid_argument;
    parent = lease = TRY(Lease::create(c.cpu, object, *parent, c.group(), expiry));
  }
  Result<CapIndex> made = c.caps().insert_below(c.cpu, object, *parent, narrowed.rights, narrowed.scope);
  if (made.has_value()) {
    audit(c.cpu, AuditEvent::derive, c.process().id(), 0, object, narrowed.rights);
  } else if (lease != nullptr) {
    lease->give_up(c.cpu);
  }
  return made;
}

Result<u64> cap_grant(CallContext& c, Process& process, u64 source, u64 rights, u64 scope) {
  CapSlot* slot = TRY(c.caps().find(CapIndex(source)));
  constexpr Rights kNeeded = rights::transfer | rights::derive;
  if ((CapSlot::rights(slot->load()) & kNeeded) != kNeeded) return Status::missing_right;
  Narrowed narrowed = TRY(narrow(*slot, rights, scope));
  if (!process.alive()) return Status::bad_state;
  KObject& object = *slot->object;
  CapIndex index = TRY(process.caps.insert_child(c.cpu, *slot, narrowed.rights, narrowed.scope));
  audit(c.cpu, AuditEvent::grant, c.process().id(), process.id(), object, narrowed.rights);
  return index.value;
}

Result<CapIndex> cap_move(CallContext& c, CapIndex capability) {
  CapSlot* slot = TRY(c.caps().find(capability));
  if (!finish_revoke(c.cpu, *slot->node(), kLeavesPerStep)) return Status::restart;
  return c.caps().move_from(c.cpu, c.caps(), *slot);
}

Result<void> cap_delete(CallContext& c, CapIndex capability) {
  CapSlot* slot = TRY(c.caps().find(capability));
  if (!finish_revoke(c.cpu, *slot->node(), kLeavesPerStep)) return Status::restart;
  if (!c.caps().remove(c.cpu, capability)) return Status::bad_capability;
  return {};
}

Result<void> cap_revoke(CallContext& c, CapIndex capability) {
  CapSlot* slot = TRY(c.caps().find(capability));
  if ((CapSlot::rights(slot->load()) & rights::revoke) == 0) return Status::missing_right;
  CapNode& root = *slot->node();
  if (TRY(begin_revoke(c.cpu, root))) {
    audit(c.cpu, AuditEvent::revoke, c.process().id(), 0, *slot->object, CapSlot::rights(slot->load()));
  }
  if (!revoke_step(c.cpu, root, kLeavesPerStep)) return Status::restart;
  end_revoke(c.cpu, root);
  c.thread.wait_for_grace(c.cpu);  // calls that found a capability in time may still be under way
  return {};
}

Result<CapInfoResult> cap_info(CallContext& c, CapIndex capability) {
  CapSlot* slot = TRY(c.caps().find(capability));
  return CapInfoResult{kind_and_rights(slot->load()), slot->scope, slot->object->id(),
                       origin_of(c.cpu, *slot->node()).depth};
}

Result<ProcessCapabilityResult> process_capability(CallContext& c, Process& process, u64 cursor) {
  if (!process.alive() || cursor >= CapSpace::kMaxSlots) return Status::not_found;
  u32 number = u32(cursor);
  CapSlot* slot = process.caps.next(&number);
  if (slot == nullptr) {
    if (number >= CapSpace::kMaxSlots) return Status::not_found;
    c.set_word(0, number);
    return Status::restart;
  }
  Origin origin = origin_of(c.cpu, *slot->node());
  return ProcessCapabilityResult{number + 1u,        slot->index().value, kind_and_rights(slot->load()),
                                 slot->object->id(), slot->scope,         origin.depth,
                                 origin.from_process};
}

}  // namespace keel::sys
