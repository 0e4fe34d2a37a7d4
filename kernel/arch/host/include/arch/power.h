// Ways to stop running.
#pragma once

#include "base/types.h"

namespace keel::arch {

// What the process exits with.
enum class ExitReason : u32 {
  success = 0,
  failure = 1,
};

// Ends the process, with status 0 for success.
[[noreturn]] void exit_emulator(ExitReason reason);
// Ends the process: nothing would wake it.
[[noreturn]] void halt_forever();
[[noreturn]] void reset_machine();

// Ends the process with status 2: there is nothing to start again.
[[noreturn]] void reset_machine();

}  // namespace keel::arch
