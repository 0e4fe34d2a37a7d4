#include "kernel/core/lock.h"

#include <arch/context.h>

#include "kernel/core/cpu.h"

namespace keel {

[[clang::preserve_most]] void SpinLock::spin() {
  do arch::relax();
  while (taken_.exchange(1, kAcquire) != 0);  // pairs with release()
}

#ifdef KEEL_LOCK_CHECKER
void SpinLock::check_acquire(Cpu& cpu) {
  // Strictly rising rank. Breaking it is a kernel bug whatever the interleaving, so it is found without a deadlock.
  if (cpu.held_count > 0 && cpu.held[cpu.held_count - 1]->rank() >= rank_) __builtin_trap();
  if (cpu.held_count == 16) __builtin_trap();
  cpu.held[cpu.held_count++] = this;
}

void SpinLock::check_release(Cpu& cpu) {
  u32 i = cpu.held_count;
  while (i > 0 && cpu.held[i - 1] != this) --i;
  if (i == 0) __builtin_trap();
  for (; i < cpu.held_count; ++i) cpu.held[i - 1] = cpu.held[i];
  --cpu.held_count;
}
#endif

}  // namespace keel
