// FrameAllocator: the RAM of one NUMA node, as a binary buddy system of 4 KiB frames.
//
// Invariants   I1 a free block of order k starts at a frame number that is a multiple of 2^k and lies in one list.
//              I2 two free buddies are never both in the lists: they are merged (up to kMaxOrder).
//              I3 RAM is taken into use in chunks of 2^kMaxOrder frames. The metadata of a chunk that is still cold is
//                 neither initialised nor read: a machine boots in the same time with 64 MiB and with 64 GiB.
// Locks        lock_ (rank frames). Order 0 goes through the CPU's magazine and mostly takes no lock.
// Costs        O(kMaxOrder). Warming a chunk up writes 16 KiB of metadata, once per 4 MiB of RAM.
// See          Knuth, TAOCP 1, 2.5; kernel/mm/frames_test.cc
#pragma once

#include <span>

#include "base/result.h"
#include "kernel/core/lock.h"
#include "kernel/mm/frame.h"

namespace keel {

class Cpu;
class ResourceGroup;

struct PhysRange {
  PhysAddr base;
  u64 bytes = 0;
  constexpr PhysAddr end() const { return base + bytes; }
};

class FrameAllocator {
 public:
  static constexpr u32 kMaxOrder = 10;
  static constexpr u64 kChunkFrames = u64{1} << kMaxOrder;
  static constexpr u32 kMaxRanges = 128;

  FrameAllocator() = default;

  // Called once. `ram` is what the firmware calls usable, in any order; `in_use` what of it is taken already (kernel
  // image, boot modules, early page tables). Carves the metadata out of the largest range.
  // `metadata_limit`: the metadata ends below it; 0 for no limit.
  // Errors: no_memory (too little RAM), out_of_range (more ranges than kMaxRanges).
  Result<void> initialise(std::span<const PhysRange> ram, std::span<const PhysRange> in_use, u64 metadata_limit = 0);

  // 2^order contiguous frames, naturally aligned, contents undefined. Charged to `group` as frames.
  // Errors: no_memory, quota_exceeded.
  Result<Frame*> allocate(Cpu& cpu, ResourceGroup& group, u32 order, FrameUse use = FrameUse::kernel);
  void free(Cpu& cpu, ResourceGroup& group, Frame* frame);
  // The same for a caller that has charged already (committed memory), or charges otherwise (the heap).
  Result<Frame*> take(Cpu& cpu, u32 order, FrameUse use);
  void give(Cpu& cpu, Frame* frame);
  // One frame filled with zeroes, from what zero_ahead() has prepared if there is any.
  Result<Frame*> take_zeroed(Cpu& cpu, FrameUse use);
  // For an idle CPU: zeroes one frame ahead of demand. False when there is nothing to do.
  bool zero_ahead(Cpu& cpu);
  // The nth frame that zero_ahead() has prepared on this CPU, if it is zero no more: taken out of use, for good; 0:
  // none. spoil_zeroed() writes to the first.
  PhysAddr take_spoilt(Cpu& cpu, u32 n);
  void spoil_zeroed(Cpu& cpu);
  // All RAM, in use or not.
  std::span<const PhysRange> ram() const { return {ram_, ram_count_}; }
  // Cuts an allocated block down to its first `frames` frames and frees the rest. What stays is freed by
  // give_span(): it is no single block any more.
  void trim(Cpu& cpu, Frame* frame, u64 frames);
  void give_span(Cpu& cpu, Frame* first, u64 frames);

  Frame* frame(PhysAddr address) const { return &frames_[(address.value >> kPageShift) - base_]; }
  PhysAddr address(const Frame* frame) const { return PhysAddr((base_ + u64(frame - frames_)) << kPageShift); }
  Frame& at(u32 index) const { return frames_[index]; }
  u32 index(const Frame* frame) const { return u32(frame - frames_); }
  // Whether any byte of the range is RAM, in use or not.
  bool overlaps_ram(PhysRange range) const;

  struct Statistics {
    u64 total = 0;
    u64 free = 0;
    u64 kernel = 0;
    u64 user = 0;
    u64 page_table = 0;
  };
  Statistics statistics() const;
  // Gives this CPU's cached frames back to the buddy system.
  void drain(Cpu& cpu);
  // Counts the frames in the free lists and checks I1 and I2. Only tests have it (machine_rig_test.h).
  u64 check(Cpu& cpu);

 private:
  Frame* take_locked(u32 order) REQUIRES(lock_);
  void give_locked(Frame* frame, u32 order) REQUIRES(lock_);
  bool warm_up() REQUIRES(lock_);
  void push(Frame* frame, u32 order) REQUIRES(lock_);
  void remove(Frame* frame) REQUIRES(lock_);
  Frame* block(Cpu& cpu, u32 order);
  void count(FrameUse use, u64 frames) { used_[usize(use)].fetch_add(frames, kRelaxed); }
  void uncount(FrameUse use, u64 frames) { used_[usize(use)].fetch_sub(frames, kRelaxed); }

  Frame* frames_ = nullptr;
  u64 base_ = 0;  // frame number of frames_[0], a multiple of kChunkFrames
  u64 span_ = 0;  // entries in frames_
  u64 total_ = 0;
  PhysRange ram_[kMaxRanges];
  u32 ram_count_ = 0;
  Atomic<u64> used_[usize(FrameUse::count)];

  SpinLock lock_{LockRank::frames, "frames"};
  u32 heads_[kMaxOrder + 1] GUARDED_BY(lock_);
  // What is still cold: free ranges (whole frames, ascending) from cold_[cold_next_] on, of cold_count_.
  struct ColdRange {
    u64 first = 0;
    u64 end = 0;
  };
  ColdRange cold_[kMaxRanges] GUARDED_BY(lock_);
  u32 cold_count_ GUARDED_BY(lock_) = 0;
  u32 cold_next_ GUARDED_BY(lock_) = 0;
};

}  // namespace keel
