// The shared memory between a block driver and its client (see base/ring.h for the rules of the rings).
//
// Page 0: the ring of requests, client to driver. Page 1: the ring of completions, driver to client. From page 2 on:
// the data pool, whose pages the driver pins for DMA. Every number that the other side wrote is checked against the
// sizes. The client keeps each request until it completed, and submits it again after it attached to a successor.
#pragma once

#include "base/ring.h"

namespace keel {

inline constexpr u32 kBlockRingEntries = 64;
inline constexpr u64 kBlockPoolFirstPage = 2;
inline constexpr u64 kMaxBlockPoolPages = 448;  // what one dma_map takes

inline constexpr u32 kBlockSectorBytes = 512;      // pool offsets are multiples of this
inline constexpr u32 kMaxBlockBytes = 128 * 1024;  // of one request

enum class BlockOperation : u32 { read = 0, write = 1, flush = 2 };

struct BlockRequest {
  u64 id = 0;  // the client's, returned in the completion
  BlockOperation operation = BlockOperation::read;
  u32 bytes = 0;  // a multiple of the sector size, at most kMaxBlockBytes; 0 for flush
  u64 first_sector = 0;
  u64 pool_offset = 0;  // bytes from the start of the data pool; a multiple of 512
};

struct BlockCompletion {
  u64 id = 0;
  u32 status = 0;  // a Status
  u32 reserved = 0;
};

static_assert(ring_bytes<BlockRequest>(kBlockRingEntries) <= kPageSize);
static_assert(ring_bytes<BlockCompletion>(kBlockRingEntries) <= kPageSize);

}  // namespace keel
