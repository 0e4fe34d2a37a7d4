#include "user/drivers/console/uart.h"

#include "user/runtime/stubs.h"

namespace keel::console {
namespace {

constexpr u16 kData = 0, kInterruptEnable = 1, kInterruptId = 2, kFifoControl = 2, kLineControl = 3, kModemControl = 4,
              kLineStatus = 5, kModemStatus = 6;
constexpr u8 kReceived = 1, kSent = 2;          // interrupt enable
constexpr u8 kNoInterrupt = 1, kIdMask = 0x0f;  // interrupt identification
constexpr u8 kLineError = 6, kModemChange = 0;
constexpr u8 kFifoOn = 1;  // interrupt at the first byte
constexpr u8 kEightBits = 3;
constexpr u8 kReady = 1 | 2 | 8;  // DTR, RTS, and the gate of the interrupt line
constexpr u8 kDataReady = 1, kHoldingEmpty = 0x20;

}  // namespace

u8 Uart::read(u16 reg) {
  const Result<u64> value = sys::io_read(ports_, base_ + reg, 1);
  return value.has_value() ? static_cast<u8>(*value) : 0;  // begin() has seen that the capability is good
}
void Uart::write(u16 reg, u8 value) { static_cast<void>(sys::io_write(ports_, base_ + reg, 1, value)); }

Result<void> Uart::begin() {
  if (TRY(sys::io_read(ports_, base_ + kLineStatus, 1)) == 0xff) return Status::not_found;  // nothing there
  write(kLineControl, kEightBits);
  write(kFifoControl, kFifoOn);
  write(kModemControl, kReady);
  write(kInterruptEnable, kReceived);
  return {};
}

bool Uart::next_interrupt() {
  const u8 id = read(kInterruptId);  // reading ends "holding register empty"
  if ((id & kNoInterrupt) != 0) return false;
  if ((id & kIdMask) == kLineError) read(kLineStatus);
  if ((id & kIdMask) == kModemChange) read(kModemStatus);
  return true;
}

std::optional<u8> Uart::receive() {
  if ((read(kLineStatus) & kDataReady) == 0) return std::nullopt;
  return read(kData);
}

bool Uart::can_transmit() { return (read(kLineStatus) & kHoldingEmpty) != 0; }
void Uart::transmit(u8 byte) { write(kData, byte); }

void Uart::tell_when_sent(bool on) {
  if (on == tells_when_sent_) return;
  tells_when_sent_ = on;
  write(kInterruptEnable, on ? kReceived | kSent : kReceived);
}

}  // namespace keel::console
