// The start block: one read-only page in which a parent tells a new process its name, its arguments and the names of
// its first capabilities. The kernel writes that of the first process; user/runtime/spawn.cc those of all others.
//
// The first thread starts with rdi = address of the start block, rsi = address of its message page.
#pragma once

#include "abi/types.h"

namespace keel {

inline constexpr u64 kStartMagic = 0x74726174736c656b;  // "kelstart"
inline constexpr u32 kStartVersion = 1;
inline constexpr u32 kStartBlockBytes = kPageSize;
inline constexpr u32 kStartNameBytes = 40;  // zero padded; without a NUL when all are used

struct StartCapability {
  char name[kStartNameBytes];
  u64 index;
};

// Then capability_count StartCapability, then argument_count NUL-terminated strings back to back, argument_bytes in
// all.
struct StartBlock {
  u64 magic;
  u32 version;
  u32 bytes;  // of the block with all that follows, at most kStartBlockBytes
  char name[kStartNameBytes];
  u32 capability_count;
  u32 argument_count;
  u32 argument_bytes;
  u32 reserved;
  u64 image_base;  // where the image was mapped
};
static_assert(sizeof(StartCapability) == 48);
static_assert(sizeof(StartBlock) == 80);

inline constexpr u32 kMaxStartCapabilities = 64;

}  // namespace keel
