#include "kernel/core/lock.h"

#include <arch/context.h>

#include "kernel/core/cpu.h"

namespace keel {

void SpinLock::acquire([[maybe_unused]] Cpu& cpu) {
#ifdef KEEL_LOCK_CHECKER
  // Strictly rising rank. Breaking it is a kernel bug whatever the interleaving, so it is found without a deadlock.
  if (cpu.held_count > 0 && cpu.held[cpu.held_count - 1]->rank() >= rank_) __builtin_trap();
  if (cpu.held_count == 16) __builtin_trap();
  cpu.held[cpu.held_count++] = this;
#endif
  while (taken_.exchange(1, kAcquire) != 0) arch::relax();  // pairs with the release below
}

void SpinLock::release([[maybe_unused]] Cpu& cpu) {
#ifdef KEEL_LOCK_CHECKER
  u32 i = cpu.held_count;
  while (i > 0 && cpu.held[i - 1] != this) --i;
  if (i == 0) __builtin_trap();
  for (; i < cpu.held_count; ++i) cpu.held[i - 1] = cpu.held[i];
  --cpu.held_count;
#endif
  taken_.store(0, kRelease);  // pairs with the exchange above
}

}  // namespace keel
