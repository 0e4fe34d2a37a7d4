#include <arch/power.h>

#include <cstdlib>

namespace keel::arch {

void exit_emulator(ExitReason reason) { std::exit(static_cast<int>(reason)); }
void halt_forever() { std::abort(); }

void reset_machine() { std::_Exit(2); }

}  // namespace keel::arch
