// Reading what was done with authority, and who has it.
#include "kernel/cap/inspect.h"
#include "kernel/core/machine.h"
#include "kernel/syscall/handlers.h"
#include "kernel/syscall/objects.h"

namespace keel::sys {

Result<AuditReadResult> audit_read(CallContext& c, KernelControl&, u64 cpu, u64 cursor) {
  if (cpu >= c.machine().cpu_count.load(kAcquire)) return Status::out_of_range;
  static_assert(kAuditRecordsPerRead * sizeof(AuditRecord) <= sizeof(MessagePage::words));
  // SAFETY: records are made of words and bytes, and the page is aligned; whoever shares it sees only what it may read.
  auto* out = reinterpret_cast<AuditRecord*>(c.thread.message_page->words);
  const AuditRing::Part part =
      c.machine().cpus[cpu]->audit.read(c.machine().clock, cursor, {out, kAuditRecordsPerRead});
  return AuditReadResult{part.next, part.count, part.lost};
}

Result<CapabilityListResult> capability_list(CallContext& c, KernelControl&, u64 process, u64 cursor, u64 up) {
  Process* holder = c.machine().find_process(c.cpu, process);
  if (holder == nullptr || !holder->alive() || cursor >= CapSpace::kMaxSlots) return Status::not_found;
  u32 number = u32(cursor);
  CapSlot* slot = holder->caps.next(&number);
  if (slot == nullptr) {
    if (number >= CapSpace::kMaxSlots) return Status::not_found;
    c.set_word(1, number);
    return Status::restart;
  }
  const NodeDescription d = TRY(describe_node(c.cpu, *slot->node(), up));
  const u64 node = u64(d.what) | u64(d.kind) << 8 | u64{d.rights} << 16 | u64{d.depth} << 32;
  return CapabilityListResult{number + 1u, node,    d.process,      d.index.value,
                              d.object,    d.scope, d.expiry.value, d.children};
}

}  // namespace keel::sys
