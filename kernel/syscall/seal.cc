// Capabilities as tokens.
#include "kernel/cap/audit.h"
#include "kernel/core/machine.h"
#include "kernel/syscall/handlers.h"
#include "kernel/syscall/objects.h"

namespace keel::sys {

Result<CapSealResult> cap_seal(CallContext& c, Sealer& sealer, u64 source) {
  CapSlot* slot = TRY(c.caps().find(CapIndex(source)));
  constexpr Rights kNeeded = rights::transfer | rights::derive;
  const Rights rights = CapSlot::rights(slot->load());
  if ((rights & kNeeded) != kNeeded) return Status::missing_right;
  SealedToken token{c.process().id(), source, slot->object->id(), {}};
  sealer.seal(token, c.target().scope);
  audit(c.cpu, AuditEvent::seal, c.process().id(), 0, *slot->object, rights);
  return CapSealResult{token.process, token.index, token.object, token.mac[0], token.mac[1]};
}

Result<CapIndex> cap_unseal(CallContext& c, Sealer& sealer, u64 token0, u64 token1, u64 token2, u64 token3,
                            u64 token4) {
  const SealedToken token{token0, token1, token2, {token3, token4}};
  if (!sealer.is_genuine(token, c.target().scope)) return Status::access_denied;
  Process* holder = c.machine().find_process(c.cpu, token.process);
  if (holder == nullptr || !holder->alive()) return Status::revoked;
  Result<CapSlot*> slot = holder->caps.find(CapIndex(token.index));
  if (!slot.has_value()) return Status::revoked;
  const Rights rights = CapSlot::rights((*slot)->load());
  KObject& object = *(*slot)->object;
  CapIndex made = TRY(c.caps().insert_child(c.cpu, **slot, rights, (*slot)->scope));
  audit(c.cpu, AuditEvent::unseal, c.process().id(), token.process, object, rights);
  return made;
}

}  // namespace keel::sys
