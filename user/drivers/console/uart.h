// Uart: the registers of a 16550. One system call per access.
// See          PC16550D data sheet (Texas Instruments), 8
#pragma once

#include <optional>

#include "abi/types.h"
#include "base/result.h"

namespace keel::console {

class Uart {
 public:
  static constexpr u32 kFifoBytes = 16;

  Uart(CapIndex ports, u16 base) : ports_(ports), base_(base) {}
  // Line parameters, FIFO, interrupts. What was received already stays.
  Result<void> begin();
  // Ends the cause of an interrupt. False: there is none left.
  bool next_interrupt();
  std::optional<u8> receive();
  bool can_transmit();  // kFifoBytes, then
  void transmit(u8 byte);
  // Whether it interrupts when can_transmit() becomes true, or is. Not at first: an emulated line, which is always
  // empty, would interrupt for each byte.
  void tell_when_sent(bool on);

 private:
  u8 read(u16 reg);
  void write(u16 reg, u8 value);

  CapIndex ports_;
  u16 base_;
  bool tells_when_sent_ = false;
};

}  // namespace keel::console
