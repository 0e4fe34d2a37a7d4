// The calls that read and change the kernel's settings.
#include <string.h>

#include "kernel/cap/audit.h"
#include "kernel/core/machine.h"
#include "kernel/syscall/handlers.h"
#include "kernel/syscall/objects.h"

namespace keel::sys {

Result<ConfigReadResult> config_read(CallContext& c, KernelControl&) {
  const Platform& p = c.machine().platform;
  const KernelConfig config = p.config.all();
  memcpy(c.thread.message_page->words, &config, sizeof config);
  return ConfigReadResult{config.version,
                          u64(kProfile),
                          Config::available(),
                          sizeof config,
                          p.bad_memory.load(kRelaxed),
                          p.bad_messages.load(kRelaxed),
                          p.pages_read.load(kRelaxed),
                          p.text_checks.load(kRelaxed)};
}

Result<u64> config_set(CallContext& c, KernelControl&, u64 number, u64 value) {
  const KnobDescription& knob = *TRY(Config::check(number, value));
  if (c.cpu.index != 0) return c.go_to(*c.machine().cpus[0]);  // Config: Locks
  Platform& platform = c.machine().platform;
  const bool weakens = platform.config.weakens(knob, u32(value));
  if (weakens) TRY(c.get<KernelControl>(c.capability(), rights::kernel_control::weaken));
  const u32 previous = TRY(platform.set(c.cpu, knob, u32(value)));
  if (weakens) audit_weaken(c.cpu, c.process(), knob.knob, u32(value));
  return previous;
}

}  // namespace keel::sys
