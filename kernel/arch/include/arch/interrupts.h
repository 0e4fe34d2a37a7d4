// Interrupt lines and messages of the machine. On the host there are 24 lines.
#pragma once

#include "base/types.h"

namespace keel {
class Cpu;
}

namespace keel::arch {

bool has_interrupt_line(u64 line);
// Sends a line to this CPU as `vector`; it stays masked.
void route_interrupt_line(Cpu& cpu, u64 line, u8 vector, bool level, bool active_low);
// From now on it goes to another CPU; at most one interrupt still arrives at the one before.
void move_interrupt_line(Cpu& cpu, u64 line, const Cpu& to);
void mask_interrupt_line(Cpu& cpu, u64 line);
void unmask_interrupt_line(Cpu& cpu, u64 line);

// What a device writes, and where, to raise `vector` on this CPU.
struct InterruptMessage {
  u64 address;
  u64 data;
};
InterruptMessage interrupt_message(Cpu& cpu, u8 vector);

}  // namespace keel::arch
