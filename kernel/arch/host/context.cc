#include <arch/context.h>
#include <arch/interrupts.h>
#include <arch/ports.h>

#include "kernel/arch/host/simulation.h"
#include "kernel/core/machine.h"
#include "kernel/core/thread.h"
#include "kernel/mm/address_space.h"

namespace keel::arch {

u64 read_clock(Cpu& cpu) { return cpu.arch.clock += cpu.arch.clock_step; }
void set_timer(Cpu& cpu, u64 deadline_ns) { cpu.arch.timer_ns = deadline_ns; }
void hasten_cpus(Cpu&) {}
void interrupt_self(Cpu& cpu) { cpu.arch.self_interrupt = true; }
void interrupt_cpu(Cpu&, Cpu& to) { to.arch.ipi.store(true, kSeqCst); }
void relax() {
  if (Simulation* s = Simulation::active; s != nullptr && s->in_fiber()) s->give_way();
}

void unload_thread(Cpu& cpu) { cpu.loaded = nullptr; }

void load_thread(Cpu& cpu, Thread& next) {
  unload_thread(cpu);
  if (cpu.space.load(kRelaxed) != next.space) {
    next.space->activate(cpu);
    ++cpu.arch.address_space_loads;
  }
  cpu.loaded = &next;
}

void leave_space(Cpu& cpu) { cpu.space.store(nullptr, kRelaxed); }

namespace {
constexpr u64 kLines = 24;
}

bool has_interrupt_line(u64 line) { return line < kLines; }
void route_interrupt_line(Cpu&, u64, u8, bool, bool) {}
void move_interrupt_line(Cpu&, u64, const Cpu&) {}
void mask_interrupt_line(Cpu& cpu, u64 line) { cpu.machine.cpus[0]->arch.unmasked_lines &= ~(u32{1} << line); }
void unmask_interrupt_line(Cpu& cpu, u64 line) { cpu.machine.cpus[0]->arch.unmasked_lines |= u32{1} << line; }
InterruptMessage interrupt_message(Cpu&, u8 vector) { return {0xfee00000, vector}; }

u32 read_port(u16, u32 width) { return width == 1 ? 0xff : width == 2 ? 0xffff : 0xffffffff; }
void write_port(u16, u32, u32) {}

}  // namespace keel::arch
