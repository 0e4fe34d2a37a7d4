// A simulated interrupt controller: 24 lines that only exist; the test raises their vectors itself.
#pragma once

#include "base/types.h"

namespace keel {
class Cpu;
}

namespace keel::arch {

inline bool has_interrupt_line(u64 line) { return line < 24; }
inline void route_interrupt_line(Cpu&, u64, u8, bool, bool) {}
inline void mask_interrupt_line(u64) {}
inline void unmask_interrupt_line(u64) {}

struct InterruptMessage {
  u64 address;
  u64 data;
};
inline InterruptMessage interrupt_message(Cpu&, u8 vector) { return {0xfee0'0000, vector}; }

}  // namespace keel::arch
