#include "kernel/platform/periodic.h"

namespace keel {

void Periodic::arm(Cpu& cpu) {
  if (!wanted(cpu) || armed_.exchange(true, kSeqCst)) return;
  cpu.timers.add(cpu, *this, Deadline(cpu.now_ns()));
}

void Periodic::expired(Cpu& cpu) {
  if (!wanted(cpu)) {
    armed_.store(false, kSeqCst);
    return arm(cpu);  // it may have been turned on since we looked, by one who saw it armed
  }
  next_ = &cpu;
  wait_ns_ = run(cpu);
  if (next_ != &cpu) return cpu.send(*next_, *this);
  cpu.timers.add(cpu, *this, Deadline(cpu.now_ns() + wait_ns_));
}

}  // namespace keel
