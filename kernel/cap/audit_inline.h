// Making an audit record in line, for the fast paths (kernel/ipc/fast_capabilities.cc).
#pragma once

#include <arch/fast_switch.h>

#include <bit>

#include "kernel/cap/audit.h"
#include "kernel/core/cpu.h"
#include "kernel/core/process.h"

namespace keel {

// Each store is ordered behind the first, and the last behind all: pairs with the acquires in load().
[[gnu::always_inline]] inline void AuditRing::store(u64 number, const AuditRecord& record) {
  Slot& slot = slots_[number % kRecords];
  const Words words = std::bit_cast<Words>(record);
  slot.words[0].store(0, kRelaxed);
  for (u32 i = 1; i < kWords; ++i) slot.words[i].store(words[i], kRelease);
  slot.words[0].store(number, kRelease);
}

[[gnu::always_inline]] inline void AuditRing::add(const AuditRecord& record) {
  const u64 number = next_.load(kRelaxed);
  store(number, record);
  next_.store(number + 1, kRelease);  // pairs with the load in read()
}

// audit(), audit_transfer()
[[gnu::always_inline]] inline void audit_inline(Cpu& cpu, AuditEvent event, u64 process, u64 other,
                                                const KObject& object, u16 rights) {
  cpu.audit.add({.time_ns = arch::fast_clock(cpu),
                 .process = process,
                 .other = other,
                 .object = object.id(),
                 .event = event,
                 .kind = u8(object.kind()),
                 .rights = rights});
}

}  // namespace keel
