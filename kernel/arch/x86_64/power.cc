#include <arch/power.h>

#include "kernel/arch/x86_64/instructions.h"

namespace keel::arch {
namespace {

constexpr u16 kDebugExitPort = 0xf4;  // QEMU isa-debug-exit

}  // namespace

void exit_emulator(ExitReason reason) {
  out32(kDebugExitPort, static_cast<u32>(reason));
  halt_forever();
}

void halt_forever() {
  for (;;) halt_with_interrupts_off();
}

}  // namespace keel::arch
