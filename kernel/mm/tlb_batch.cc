#include "kernel/mm/tlb_batch.h"

#include <arch/context.h>
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

void TlbBatch::flush_local() const {
  if (all_ || pages_ > kSinglePages) {
    arch::invalidate_all();
    return;
  }
  for (u32 i = 0; i < count_; ++i) {
    for (u64 page = 0; page < ranges_[i].pages; ++page) {
      arch::invalidate_page(ranges_[i].first + page * kPageSize);
    }
  }
}

void TlbRequests::answer(Cpu& cpu) {
  askers.take_each([&](u32 asker) {
    TlbRequests& other = cpu.machine.cpus[asker]->tlb;
    other.batch->flush_local();
    other.pending.fetch_sub(1, kAcqRel);  // pairs with flush(): our TLB is clean before it goes on
  });
}

void TlbBatch::flush(Cpu& cpu) {
  if (count_ > 0) {
    cpu.tlb.batch = this;
    // The changed entries are written before the spaces are read: the walk is sequentially consistent, and a CPU that
    // loads the space publishes it with a full barrier in between (the load of the root).
    thread_fence(kSeqCst);
    space_.cpus.for_each([&](u32 index) {
      if (index == cpu.index) return;
      Cpu& other = *cpu.machine.cpus[index];
      if (other.space.load(kSeqCst) != &space_) return;
      cpu.tlb.pending.fetch_add(1, kRelaxed);
      other.tlb.askers.add(cpu.index);
      arch::interrupt_cpu(cpu, other);
    });
    if (cpu.space.load(kRelaxed) == &space_) flush_local();
    while (cpu.tlb.pending.load(kAcquire) != 0) {  // pairs with answer()
      cpu.tlb.answer(cpu);
      arch::relax();
    }
  }
  space_.flushes_due.fetch_sub(1, kRelease);  // pairs with AddressSpace::withdraw()
  FrameAllocator& frames = cpu.machine.frames;
  while (tables_ != Frame::kNone) {
    Frame& frame = frames.at(tables_);
    tables_ = frame.next;
    frames.free(cpu, space_.group(), &frame);
  }
  count_ = 0;
  pages_ = 0;
  all_ = false;
}

}  // namespace keel
