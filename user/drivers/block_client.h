// BlockDevice: what file systems use of a block driver: synchronous reads and writes with many requests in flight.
//
//   BlockConnection connection(find_capability("block"), loop.notification(), loop.allocate_bit(), use_index);
//   loop.on_restart(use_index, [&] { connection.driver_restarted(); });
//   BlockDevice disk = TRY(BlockDevice::open(connection));
//   TRY(disk.read(1024, buffer));
//
// Restart      Every request is kept until it completed. When the service manager says that the driver was restarted
//              (also while nobody reads), the next operation attaches to the successor and submits again what had not
//              completed. All operations may be repeated: reads by nature, writes because nothing else is written to
//              their sectors before they returned.
// Waiting      An operation waits on the notification that a ServiceLoop may have bound to its port: no handler and no
//              coroutine runs meanwhile. Bits that are not ours are signalled again at its end, so the loop gets them.
// Trust        Completions are checked: unknown ones and nonsense in the ring lead to a new attachment, at most
//              kMaxAttempts in a row; then the operation fails. The driver can return wrong data, nothing worse.
// Locks        none: one thread.
// See          user/drivers/block_ring.h, docs/subsystems/devices.md, block_client_test.cc
#pragma once

#include <array>
#include <span>

#include "abi/types.h"
#include "base/ring.h"
#include "user/drivers/block_ring.h"
#include "user/runtime/memory.h"

namespace keel {

struct BlockGeometry {
  u64 sectors = 0;
  u32 sector_bytes = kBlockSectorBytes;
  bool read_only = false;
  u64 bytes() const { return sectors * sector_bytes; }
};

// How a BlockDevice reaches its driver.
class BlockTransport {
 public:
  // The rings and the pool.
  virtual std::span<std::byte> memory() = 0;
  // Attaches the memory, whose rings are fresh; waits for a successor if there is no driver now.
  virtual Result<BlockGeometry> attach() = 0;
  virtual void ring_doorbell() = 0;
  enum class Woken : u8 { completions, restarted };
  // Errors: timed_out.
  virtual Result<Woken> wait() = 0;
  // Whether the driver was restarted since the last attach().
  virtual bool was_restarted() = 0;
  // An operation is over.
  virtual void end() = 0;

 protected:
  ~BlockTransport() = default;
};

class BlockDevice {
 public:
  static constexpr u32 kSlotBytes = 64 * 1024;  // of one request
  static constexpr u32 kSlots = 16;             // in flight
  static constexpr u64 kPoolPages = u64{kSlots} * kSlotBytes / kPageSize;
  static constexpr u64 kMemoryPages = kBlockPoolFirstPage + kPoolPages;
  static constexpr u32 kMaxAttempts = 8;
  static_assert(kPoolPages <= kMaxBlockPoolPages && kSlots <= kBlockRingEntries && kSlotBytes <= kMaxBlockBytes);

  // `transport` must outlive it. Errors: those of the driver.
  static Result<BlockDevice> open(BlockTransport& transport);

  const BlockGeometry& geometry() const { return geometry_; }
  // Any bytes of the device. Errors: out_of_range, io_error, timed_out (no driver answers), revoked (it was given up).
  Result<void> read(u64 offset, std::span<std::byte> out);
  // Whole sectors. Errors: also invalid_argument, read_only. What was written is durable after flush().
  Result<void> write(u64 offset, std::span<const std::byte> data);
  Result<void> flush();

 private:
  struct Slot {
    bool active = false;
    BlockRequest request;
    std::byte* target = nullptr;  // of a read
    u32 skip = 0;                 // bytes in front of what was asked for
    u32 bytes = 0;
  };

  explicit BlockDevice(BlockTransport& transport) : transport_(transport) {}
  Result<void> attach();
  Result<void> attach_until_it_works();
  Result<void> operate(BlockOperation operation, u64 offset, std::byte* target, const std::byte* source, u64 bytes);
  void fill(u32 slot, BlockOperation operation, u64 offset, u64 bytes);
  Result<void> submit(u32 slot);
  // Waits until something completed. Errors: the device cannot be used any more.
  Result<void> progress();
  Result<bool> take_completions();
  void forget_all();

  std::byte* pool(u32 slot) {
    return transport_.memory().data() + kBlockPoolFirstPage * kPageSize + u64{slot} * kSlotBytes;
  }

  BlockTransport& transport_;
  BlockGeometry geometry_;
  bool attached_ = false;
  u32 attempts_ = 0;  // attachments since something completed
  u32 in_flight_ = 0;
  u64 sequence_ = 0;
  Status first_error_ = Status::ok;
  std::array<Slot, kSlots> slots_;
  RingProducer<BlockRequest> requests_;
  RingConsumer<BlockCompletion> completions_;
};

// To a driver behind a port of type Block.
class BlockConnection final : public BlockTransport {
 public:
  static constexpr u64 kNoRestartBit = 64;
  // `bit` is ours among those of the notification; restart_use: the driver's place in our manifest's `uses`.
  BlockConnection(CapIndex port, CapIndex notification, u32 bit, u64 restart_use = kNoRestartBit)
      : port_(port),
        notification_(notification),
        completion_bit_(u64{1} << bit),
        restart_bit_(restart_use < 64 ? u64{1} << restart_use : 0) {}

  // To be called when a ServiceLoop received the restart bit.
  void driver_restarted() { restarted_ = true; }

  std::span<std::byte> memory() override;
  Result<BlockGeometry> attach() override;
  void ring_doorbell() override;
  Result<Woken> wait() override;
  bool was_restarted() override { return restarted_; }
  void end() override;

 private:
  CapIndex port_;
  CapIndex notification_;
  u64 completion_bit_;
  u64 restart_bit_;
  u64 foreign_bits_ = 0;
  bool restarted_ = false;
  Cap ring_;
  Mapping mapping_;
  Cap doorbell_;
  u64 doorbell_bits_ = 0;
};

}  // namespace keel
