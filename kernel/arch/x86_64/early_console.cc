#include <arch/early_console.h>

#include "base/types.h"
#include "kernel/arch/x86_64/instructions.h"

namespace keel::arch {
namespace {

// National Semiconductor PC16550D, section 8: register offsets and bits.
constexpr u16 kPort = 0x3f8;
constexpr u16 kData = kPort + 0, kInterruptEnable = kPort + 1, kFifoControl = kPort + 2;
constexpr u16 kLineControl = kPort + 3, kModemControl = kPort + 4, kLineStatus = kPort + 5;
constexpr u8 kDivisorLatch = 0x80, k8N1 = 0x03, kEnableAndClearFifos = 0x07, kReadyToSend = 0x03;
constexpr u8 kTransmitterEmpty = 0x20;
// A port that is not there must not hang the boot.
constexpr u32 kMaxPolls = 100'000;

void write_byte(u8 byte) {
  for (u32 i = 0; i < kMaxPolls && (in8(kLineStatus) & kTransmitterEmpty) == 0; ++i) {
  }
  out8(kData, byte);
}

}  // namespace

void early_console_init() {
  out8(kInterruptEnable, 0);
  out8(kLineControl, kDivisorLatch);
  out8(kData, 1);  // divisor 1: 115200 baud
  out8(kInterruptEnable, 0);
  out8(kLineControl, k8N1);
  out8(kFifoControl, kEnableAndClearFifos);
  out8(kModemControl, kReadyToSend);
}

void early_console_write(std::string_view text) {
  for (char c : text) {
    if (c == '\n') write_byte('\r');
    write_byte(static_cast<u8>(c));
  }
}

}  // namespace keel::arch
