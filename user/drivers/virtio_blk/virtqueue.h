// Virtqueue: the driver's half of a split virtqueue, in memory that it shares with the device. Pure logic.
//
// Invariants   I1 what the driver knows (free descriptors, chains in flight) is in private memory; nothing that the
//                 device wrote is used as an index before it was checked.
//              I2 a chain is in flight from submit() until take() returned it, exactly once.
//              I3 after the device broke the rules the queue is broken for good: Status::corrupt. The device is reset.
// Orders       index of the available ring: release, pairs with the device's read. Index of the used ring: acquire.
//              Between publishing and reading the device's flags stands a full fence (Virtio 1.2, 2.7.13.4.1).
// Locks        none: one thread.
// Costs        submit() and take(): O(segments); no allocation after create().
// See          Virtio 1.2, 2.7; virtqueue_test.cc
#pragma once

#include <array>
#include <optional>
#include <span>

#include "base/atomic.h"
#include "base/result.h"
#include "base/types.h"

namespace keel::virtio {

inline constexpr u16 kMaxQueueSize = 256;

struct Segment {
  u64 address = 0;  // the device's
  u32 bytes = 0;
  bool device_writes = false;
};

struct Used {
  u16 chain = 0;    // what submit() returned
  u32 written = 0;  // bytes that the device says it wrote; at most what it was allowed
};

// As the device sees it.
struct Descriptor {
  u64 address;
  u32 bytes;
  u16 flags;
  u16 next;
};
inline constexpr u16 kDescriptorNext = 1;
inline constexpr u16 kDescriptorWrite = 2;

struct UsedEntry {
  u32 id;
  u32 bytes;
};

class Virtqueue {
 public:
  // Where the parts lie in the queue's memory, each on pages of its own.
  static constexpr u64 kDescriptors = 0;
  static constexpr u64 kAvailable = kPageSize;
  static constexpr u64 kUsed = 2 * kPageSize;
  static constexpr u64 kBytes = 3 * kPageSize;

  Virtqueue() = default;
  // Over zeroed memory, aligned to a page. size is a power of two. Errors: invalid_argument, misaligned, out_of_range.
  static Result<Virtqueue> create(std::span<std::byte> memory, u16 size);

  u16 size() const { return size_; }
  u16 free() const { return free_count_; }
  u16 in_flight() const { return chains_; }

  // Makes a chain available; readable segments come before writable ones. The device sees it after publish().
  // Errors: invalid_argument (none, or order), would_block (too few descriptors now), too_big (more than ever fit).
  Result<u16> submit(std::span<const Segment> segments);
  // Shows the device what was submitted. True: it wants to be notified.
  bool publish();
  // The next chain that the device is done with; nullopt: none now. Errors: corrupt (I3).
  Result<std::optional<Used>> take();

 private:
  static constexpr u16 kNone = 0xffff;
  static constexpr u16 kUsedNoNotify = 1;

  Descriptor& descriptor(u16 i) { return reinterpret_cast<Descriptor*>(memory_ + kDescriptors)[i]; }
  // The rings: flags, index, entries.
  Atomic<u16>& word(u64 offset) { return *reinterpret_cast<Atomic<u16>*>(memory_ + offset); }
  u16& available_entry(u16 i) { return reinterpret_cast<u16*>(memory_ + kAvailable + 4)[i]; }
  const UsedEntry& used_entry(u16 i) { return reinterpret_cast<const UsedEntry*>(memory_ + kUsed + 4)[i]; }

  std::byte* memory_ = nullptr;
  u16 size_ = 0;
  u16 first_free_ = kNone;
  u16 free_count_ = 0;
  u16 chains_ = 0;
  u16 next_available_ = 0;  // written so far
  u16 published_ = 0;
  u16 next_used_ = 0;
  bool broken_ = false;
  std::array<u16, kMaxQueueSize> next_{};       // of a chain, or of the free list
  std::array<u32, kMaxQueueSize> writable_{};   // bytes, by chain
  std::array<bool, kMaxQueueSize> is_chain_{};  // in flight, its head here
};

}  // namespace keel::virtio
