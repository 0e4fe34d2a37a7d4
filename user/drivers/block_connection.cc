#include "idl/block.h"
#include "user/drivers/block_client.h"
#include "user/runtime/clock.h"
#include "user/runtime/stubs.h"

namespace keel {
namespace {

// Longer than a disk takes, shorter than people wait: then a new attachment is tried.
constexpr u64 kPatience = 10 * kSecond;
constexpr u64 kAttachPatience = 30 * kSecond;

}  // namespace

std::span<std::byte> BlockConnection::memory() {
  if (!mapping_) {
    Result<Mapping> made = Mapping::create(BlockDevice::kMemoryPages, &ring_);
    if (!made.has_value()) return {};
    mapping_ = std::move(*made);
  }
  return mapping_.bytes();
}

Result<BlockGeometry> BlockConnection::attach() {
  restarted_ = false;
  const BlockClient driver(port_);
  constexpr Rights kRing = rights::transfer | rights::derive | rights::inspect | rights::memory::read |
                           rights::memory::write | rights::memory::pin;
  const Cap ring = TRY(derive(ring_.get(), kRing));
  const Cap completion =
      TRY(derive(notification_, rights::transfer | rights::derive | rights::notification::signal, completion_bit_));
  const Deadline deadline = after(kAttachPatience);
  const BlockInfoResult info = TRY(driver.info(deadline));
  BlockAttachResult attached = TRY(driver.attach(ring.get(), completion.get(), completion_bit_, deadline));
  doorbell_ = std::move(attached.doorbell);
  doorbell_bits_ = attached.doorbell_bits;
  return BlockGeometry{.sectors = info.sectors, .sector_bytes = info.sector_bytes, .read_only = info.read_only};
}

void BlockConnection::ring_doorbell() {
  // A driver that is dead by now does not hear it: its successor gets everything anew.
  static_cast<void>(sys::notification_signal(doorbell_.get(), doorbell_bits_));
}

Result<BlockTransport::Woken> BlockConnection::wait() {
  const Deadline deadline = after(kPatience);
  for (;;) {
    const Result<u64> bits = sys::notification_wait(notification_, deadline);
    if (!bits.has_value() && bits.error() == Status::cancelled) continue;
    if (!bits.has_value()) return bits.error();
    foreign_bits_ |= *bits & ~(completion_bit_ | restart_bit_);
    if ((*bits & restart_bit_) != 0) return Woken::restarted;
    if ((*bits & completion_bit_) != 0) return Woken::completions;
  }
}

void BlockConnection::end() {
  if (foreign_bits_ == 0) return;
  static_cast<void>(sys::notification_signal(notification_, std::exchange(foreign_bits_, 0)));  // ours: cannot fail
}

}  // namespace keel
