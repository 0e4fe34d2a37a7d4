// The boot image: the one module that a boot loader hands to the kernel. It holds the first process, laid out for
// mapping so that the kernel needs no ELF loader, and the archive of everything else, which the kernel does not look
// into. Made by tools/mkbootimage.
#pragma once

#include "base/types.h"

namespace keel {

inline constexpr u64 kBootImageMagic = 0x656d69746f6f6b6c;
inline constexpr u32 kBootImageVersion = 1;
inline constexpr u32 kMaxBootSegments = 8;

// Offsets, addresses and sizes are multiples of 4096, except file_bytes.
struct BootSegment {
  u64 offset;      // in the boot image
  u64 file_bytes;  // what lies there; the rest of the segment is zero
  u64 address;     // relative to the load address
  u64 bytes;       // in memory
  u32 write;       // 1: its pages are copied for the process
  u32 execute;     // never together with write
};

struct BootImageHeader {
  u64 magic;
  u32 version;
  u32 segment_count;
  u64 span;   // bytes of address space from the load address on
  u64 entry;  // relative to the load address
  u64 archive_offset;
  u64 archive_bytes;
  BootSegment segments[kMaxBootSegments];
};

}  // namespace keel
