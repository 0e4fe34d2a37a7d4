// Driver: serves Block for one virtio disk. Sessions, told apart by badge, each with a ring and a pool; one virtqueue.
//
// Invariants   I1 of one session, requests in flight + completions that the client has not taken <= entries of its
// ring:
//                 a completion always has room.
//              I2 a dropped session's requests end without touching its memory; the device may still write to its
//                 pool, which stays pinned until the device manager releases the domain.
// Trust        Everything in a client's ring is checked, wrong requests are completed with an error; a ring whose
//              indices make no sense costs the client its session. The device is trusted with memory (no IOMMU), but
//              not with indices: see virtqueue.h. When it breaks the rules the driver ends and its successor resets it.
// Limits       kMaxSessions at a time. A client that revokes its ring's memory while it is attached makes the driver
//              fault: it is then restarted, like after any fault.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "idl/block.h"
#include "user/drivers/block_ring.h"
#include "user/drivers/virtio_blk/transport.h"
#include "user/runtime/service_loop.h"

namespace keel::virtio {

class Driver final : public BlockServer {
 public:
  static constexpr usize kMaxSessions = 8;
  // Pools of dropped sessions cannot be unpinned one by one. After so many the driver starts anew, which frees all.
  static constexpr u32 kMaxStalePools = 32;

  explicit Driver(ServiceLoop& loop) : loop_(loop) {}
  // Brings the device up. `what`: the step that failed.
  Result<void> begin(CapIndex device, const char** what);

  Result<BlockInfoReply> info(Session session) override;
  Result<BlockAttachReply> attach(Session session, Cap ring, Cap completion, u64 completion_bits) override;

 private:
  struct Client {
    u64 badge = 0;
    u32 bit = 0;  // of the doorbell
    Mapping ring;
    Cap completion;
    u64 completion_bits = 0;
    RingConsumer<BlockRequest> requests;
    RingProducer<BlockCompletion> completions;
    std::vector<u64> pool;  // addresses of its pages
    u32 in_flight = 0;
    bool held = false;  // a request that was taken and found no room in the queue
    BlockRequest request;
  };
  // A request at the device, by the number of its chain.
  struct Pending {
    Client* client = nullptr;  // null: its session was dropped
    u64 id = 0;
  };
  // What the device reads and writes besides the data.
  struct Header {
    u32 type;
    u32 reserved;
    u64 sector;
    u8 status;
    u8 padding[15];
  };
  static_assert(sizeof(Header) == 32);

  void on_interrupt();
  bool finish_chains();
  void pump_all();
  void pump(Client& client);
  // False: the session is lost.
  bool take_requests(Client& client, bool* more);
  Status check(const Client& client, const BlockRequest& request) const;
  // Would_block: no room in the queue now. Other statuses are the request's result.
  Status submit(Client& client, const BlockRequest& request);
  bool complete(Client& client, u64 id, Status status);
  // Errors: busy.
  Result<void> drain(u64 badge);
  void drop(u64 badge);
  [[noreturn]] void give_up(const char* why);

  ServiceLoop& loop_;
  VirtioDevice device_;
  Virtqueue queue_;
  DeviceMemory headers_;
  std::vector<u16> free_headers_;
  std::array<u16, kMaxQueueSize> header_of_{};  // by chain
  std::array<Pending, kMaxQueueSize> pending_{};
  std::vector<std::unique_ptr<Client>> clients_;
  std::array<bool, kMaxSessions> bit_used_{};
  std::array<u32, kMaxSessions> bits_{};
  u32 stale_pools_ = 0;
  u64 sectors_ = 0;
  bool read_only_ = false;
  bool can_flush_ = false;
};

}  // namespace keel::virtio
