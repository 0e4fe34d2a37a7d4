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
constexpr i64 kFifo = 16;

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
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    for (u32 n = 0; n < kMaxPolls && (in8(kLineStatus) & kTransmitterEmpty) == 0; ++n) {
    }
    // An empty transmitter takes as many bytes as its FIFO holds.
    const char* const stop = end - at < kFifo ? end : at + kFifo - 1;
    if (*at == '\n') out8(kData, '\r');
    do {
      out8(kData, u8(*at++));
    } while (at != stop && *at != '\n');
  }
}

}  // namespace keel::arch
