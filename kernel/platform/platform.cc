#include "kernel/platform/platform.h"

#include <arch/integrity.h>
#include <arch/panic.h>

#include "kernel/core/machine.h"
#include "kernel/platform/invariants.h"

namespace keel {

Result<void> Platform::start(Cpu& boot_cpu) {
  TRY(text_hash_.initialise(boot_cpu));
  for (const KnobDescription& k : kKnobs) apply(boot_cpu, k.knob);
  return {};
}

void Platform::apply(Cpu& cpu, Knob knob) {
  switch (knob) {
    case Knob::ram_scrubber_enabled:
      scrubber_.arm(cpu);
      break;
    case Knob::hash_kernel_text_enabled:
      text_hash_.arm(cpu);
      break;
    case Knob::msg_header_checks_enabled:
    case Knob::msg_payload_crc_enabled:
      if constexpr (kParanoidChecks) messages.route(cpu);
      break;
    case Knob::watchdog_enabled:
    case Knob::watchdog_timeout_ms:
      watchdog.begin(cpu);
      break;
    default:
      break;  // read when it matters
  }
}

Result<u32> Platform::set(Cpu& cpu, const KnobDescription& knob, u32 value) {
  if constexpr (kParanoidChecks) {
    if (knob.knob == Knob::msg_payload_crc_enabled && value != 0 && !arch::has_crc32c()) return Status::not_supported;
  }
  const u32 previous = config.get(knob.knob);
  config.set(knob.knob, value);
  apply(cpu, knob.knob);
  return previous;
}

void Platform::sample_invariants(Cpu& cpu, u64 capability) {
  if (!config.is_on(Knob::invariants_enabled)) return;
  u32& left = until_sample_[cpu.index];
  if (left > 1) {
    --left;
    return;
  }
  left = config.get(Knob::invariants_sample_rate);
  const char* broken = find_broken_invariant(cpu, capability);
  if (broken == nullptr) return;
  char line[128];
  arch::panic(format_to(line, "broken invariant: {}", broken));
}

}  // namespace keel
