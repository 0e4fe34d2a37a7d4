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

void reset_machine() {
  out8(0xcf9, 6);  // PIIX/ICH reset control: hard reset
  for (u32 i = 0; i < 100'000 && (in8(0x64) & 2) != 0; ++i) {
  }
  out8(0x64, 0xfe);  // keyboard controller: pulse the reset line
  halt_forever();
}

void halt_forever() {
  for (;;) halt_with_interrupts_off();
}

}  // namespace keel::arch
