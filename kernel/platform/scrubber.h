// Scrubber: reads all RAM again and again, so that the memory controller finds bits that have flipped while it can
// still correct them; and looks whether free memory is as it was left: pages zeroed ahead are zero, free objects hold
// their pattern (KernelHeap I3). What is not is reported, counted, and never given out again.
//
// One CPU at a time: what is free lies in the magazines of each, so with each round over all RAM it moves to the next.
//
// Locks        none: only its CPU touches it.
// Costs        a step reads 4 pages, a page of zeroes and the free objects of one size: about 4,000 instructions.
// See          scrubber_test.cc
#pragma once

#include "kernel/platform/periodic.h"

namespace keel {

class Platform;

class Scrubber final : public Periodic {
 public:
  static constexpr u32 kPagesPerStep = 4;
  explicit Scrubber(Platform& platform) : platform_(platform) {}

 private:
  bool wanted(Cpu& cpu) const override;
  u64 run(Cpu& cpu) override;
  void read_pages(Cpu& cpu);
  void look_at_free_memory(Cpu& cpu);

  Platform& platform_;
  u32 range_ = 0;  // of RAM
  u64 page_ = 0;   // in the range
  u32 step_ = 0;   // which zeroed page, which size of objects is next
};

}  // namespace keel
