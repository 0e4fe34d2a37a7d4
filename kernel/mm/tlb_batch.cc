#include "kernel/mm/tlb_batch.h"

#include <arch/page_table.h>

#include "kernel/core/machine.h"
#include "kernel/mm/address_space.h"

namespace keel {

void TlbBatch::add(VirtAddr first, u64 pages) {
  pages_ += pages;
  if (count_ > 0 && ranges_[count_ - 1].first + ranges_[count_ - 1].pages * kPageSize == first) {
    ranges_[count_ - 1].pages += pages;
  } else if (count_ < kRanges) {
    ranges_[count_++] = {first, pages};
  } else {
    all_ = true;
  }
}

void TlbBatch::add_table(Cpu& cpu, Frame& frame) {
  frame.next = tables_;
  tables_ = cpu.machine.frames.index(&frame);
}

void TlbBatch::flush(Cpu& cpu, AddressSpace& space) {
  // One CPU runs so far. With more, those whose Cpu::space is this one get the ranges by mailbox and IPI here, before
  // anything is freed.
  if (cpu.space == &space && count_ > 0) {
    if (all_ || pages_ > kSinglePages) {
      arch::invalidate_all();
    } else {
      for (u32 i = 0; i < count_; ++i) {
        for (u64 page = 0; page < ranges_[i].pages; ++page) {
          arch::invalidate_page(ranges_[i].first + page * kPageSize);
        }
      }
    }
  }
  FrameAllocator& frames = cpu.machine.frames;
  while (tables_ != Frame::kNone) {
    Frame& frame = frames.at(tables_);
    tables_ = frame.next;
    frames.free(cpu, space.group(), &frame);
  }
  count_ = 0;
  pages_ = 0;
  all_ = false;
}

}  // namespace keel
