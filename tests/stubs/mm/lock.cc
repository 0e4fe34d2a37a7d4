#include "kernel/core/lock.h"

#include "kernel/core/cpu.h"
namespace keel {
void SpinLock::acquire([[maybe_unused]] Cpu& cpu) {
#ifdef KEEL_LOCK_CHECKER
  if (cpu.held_count > 0 && cpu.held[cpu.held_count - 1]->rank() >= rank()) __builtin_trap();
  cpu.held[cpu.held_count++] = this;
#endif
  while (taken_.exchange(1, kAcquire) != 0) {
  }
}
void SpinLock::release([[maybe_unused]] Cpu& cpu) {
#ifdef KEEL_LOCK_CHECKER
  if (cpu.held[--cpu.held_count] != this) __builtin_trap();
#endif
  taken_.store(0, kRelease);
}
}  // namespace keel
