// Stack canaries of the kernel (-fstack-protector-strong): a word between a function's buffers and its return address,
// compared before it returns.
//
// One for all CPUs, chosen by boot_high() before there are others. A global, because GS base is the user's (ADR 1).
#include <arch/panic.h>

#include "base/format.h"
#include "kernel/arch/x86_64/instructions.h"
#include "kernel/arch/x86_64/processor.h"

extern "C" {
[[gnu::visibility("hidden")]] extern char kernel_image_start[];
// Until it is chosen, what boot code is protected with: not zero, which an overrun of zeros would leave as it is.
[[gnu::visibility("hidden")]] constinit keel::u64 __stack_chk_guard = 0x2bc5'1e05'd9a3'7f00;
// Called by the function that was overrun.
[[noreturn, gnu::visibility("hidden"), gnu::no_stack_protector]] void __stack_chk_fail() {
  char line[96];
  // SAFETY: addresses as numbers.
  const keel::u64 offset =
      reinterpret_cast<keel::u64>(__builtin_return_address(0)) - reinterpret_cast<keel::u64>(kernel_image_start);
  keel::arch::panic(keel::format_to(line, "a buffer on the stack was overrun in the function at {:016x}",
                                    offset + 0xffffffff80000000));
}
}

namespace keel::arch {

// The lowest byte stays zero: a string that overruns cannot write it and go on.
[[gnu::no_stack_protector]] void set_stack_canary(u64 random) { __stack_chk_guard = random & ~u64{0xff}; }

}  // namespace keel::arch
