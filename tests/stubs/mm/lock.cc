#include "kernel/core/lock.h"

#include "kernel/core/cpu.h"
namespace keel {
void SpinLock::acquire(Cpu& cpu) {
  if (cpu.held_count > 0 && cpu.held[cpu.held_count - 1]->rank() >= rank()) __builtin_trap();
  while (taken_.exchange(1, kAcquire) != 0) {
  }
  cpu.held[cpu.held_count++] = this;
}
void SpinLock::release(Cpu& cpu) {
  if (cpu.held[--cpu.held_count] != this) __builtin_trap();
  taken_.store(0, kRelease);
}
}  // namespace keel
