// The first portable code of the kernel.
#include <arch/early_console.h>
#include <arch/power.h>

#include <array>
#include <charconv>

#include "kernel/core/boot_info.h"
#include "kernel/core/boot_options.h"

namespace keel {
namespace {

void print(std::string_view text) { arch::early_console_write(text); }

void print(u64 value, int base) {
  std::array<char, 20> digits;
  char* end = std::to_chars(digits.data(), digits.data() + digits.size(), value, base).ptr;
  print(std::string_view(digits.data(), end));
}

}  // namespace

void kernel_main(BootInfo& boot) {
  print("\nKeel: ");  // firmware may have left the cursor in the middle of a line
  print(boot.usable_bytes() >> 20, 10);
  print(" MiB of memory, slide 0x");
  print(boot.kernel_slide, 16);
  print("\n");
  if (has_boot_option(boot.command_line(), "selftest")) arch::exit_emulator(arch::ExitReason::success);
  arch::halt_forever();
}

}  // namespace keel
