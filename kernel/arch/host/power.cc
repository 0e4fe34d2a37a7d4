#include <arch/panic.h>
#include <arch/power.h>

#include <cstdio>
#include <cstdlib>

namespace keel::arch {

void exit_emulator(ExitReason reason) { std::exit(static_cast<int>(reason)); }
void panic(std::string_view why) {
  std::fprintf(stderr, "KERNEL PANIC: %.*s\n", int(why.size()), why.data());
  std::abort();
}
void halt_forever() { std::abort(); }

void reset_machine() { std::_Exit(2); }

}  // namespace keel::arch
