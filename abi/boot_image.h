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
  u64 symbols_offset;  // for the backtrace of a panic: BootSymbols, or 0 bytes of it
  u64 symbols_bytes;
  BootSegment segments[kMaxBootSegments];
};

// Sorted by offset; the names follow the last symbol, each ended by NUL.
struct BootSymbol {
  u32 offset;  // of the function from the kernel's link base
  u32 name;    // offset of its name from the start of BootSymbols
};
struct BootSymbols {
  u32 count;
  u32 reserved;
  BootSymbol symbols[];
};

}  // namespace keel
