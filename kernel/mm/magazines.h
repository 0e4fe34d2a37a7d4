// Magazines: what one CPU keeps at hand of free frames and free kernel objects, so that most allocations take no lock.
//
// Invariants   I1 touched by its own CPU only, with interrupts off.
//              I2 frames in it count as free, objects in it as free: they are charged to nobody.
// See          kernel/mm/frames.h, kernel/mm/heap.h: `drain` empties them.
#pragma once

#include "base/types.h"

namespace keel {

struct Frame;

class Magazines {
 public:
  static constexpr u32 kFrames = 32;
  static constexpr u32 kZeroed = 16;
  static constexpr u32 kObjects = 16;
  static constexpr u32 kClasses = 14;

 private:
  friend class FrameAllocator;
  friend class KernelHeap;

  struct Bin {
    u32 count = 0;
    void* objects[kObjects] = {};
  };
  u32 frame_count_ = 0;
  Frame* frames_[kFrames] = {};
  u32 zeroed_count_ = 0;
  Frame* zeroed_[kZeroed] = {};
  Bin bins_[kClasses];
};

}  // namespace keel
