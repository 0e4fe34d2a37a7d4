// Ways to stop running.
#pragma once

#include "base/types.h"

namespace keel::arch {

// Values for the emulator's debug-exit port; the emulator's exit status is 2 * value + 1.
enum class ExitReason : u32 {
  success = 0x10,
  failure = 0x11,
};

// Ends the emulator; halts where there is none.
[[noreturn]] void exit_emulator(ExitReason reason);
// Resets the machine.
[[noreturn]] void reset_machine();
// Stops this CPU with interrupts off.
[[noreturn]] void halt_forever();

}  // namespace keel::arch
