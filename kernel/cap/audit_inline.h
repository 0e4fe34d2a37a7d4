// Making an audit record in line, for the fast paths (kernel/ipc/fast_capabilities.cc).
#pragma once

#include <arch/fast_switch.h>

#include <bit>

#include "kernel/cap/audit.h"
#include "kernel/core/cpu.h"
#include "kernel/core/process.h"

namespace keel {

[[gnu::always_inline]] inline void AuditRing::add(const AuditRecord& record) {
  Slot& slot = slots_[next_.load(kRelaxed) % kSlots];
  const Words words = std::bit_cast<Words>(record);
  // Release: who reads one of these words, in load(), finds next_ to be at least what it is now.
  for (u32 i = 1; i < kWords; ++i) slot.words[i - 1].store(words[i], kRelease);
  next_.store(next_.load(kRelaxed) + 1, kRelease);  // pairs with the load in read()
}

// audit()
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
