// Frame: 16 bytes of knowledge about one 4 KiB page of RAM, found by its number.
//
// Invariants   I1 only the first frame of a block (free or allocated) has a meaningful order.
//              I2 pins > 0 means that a device may write to the page: it is not freed and not evicted.
//              I3 shares is one less than the number of slots that lead to a page or node of memory objects.
// Locks        a free frame, and `listed` of every frame: FrameAllocator::lock_. The rest of an allocated frame:
//              whoever allocated it. (Its buddy is freed under the lock, and looks at `listed` only.)
#pragma once

#include "base/atomic.h"

namespace keel {

// What a frame is used for, as the statistics show it.
enum class FrameUse : u8 { none, kernel, user, page_table, count };

struct Frame {
  static constexpr u32 kNone = ~u32{0};

  u32 next = kNone;  // index of the next frame of the list that this one is in: free list, slab list, TlbBatch
  union {
    u32 previous = kNone;
    Atomic<u32> shares;  // memory objects: see MemoryObject
  };
  FrameUse use = FrameUse::none;
  u8 order = 0;
  u8 size_class = 0;    // slab frames
  bool listed = false;  // first frame of a free block; only ever touched under FrameAllocator::lock_
  union {
    u32 pins = 0;  // user frames: outstanding pins
    u32 entries;   // page tables: present entries
    struct {
      u16 free_head;  // slab frames: index of the first free object plus one, 0 if none
      u16 used;
    } slab;
  };
};
static_assert(sizeof(Frame) == 16);

}  // namespace keel
