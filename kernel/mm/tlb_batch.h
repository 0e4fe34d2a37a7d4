// TlbBatch: the translations that one operation took away. They may live on in the TLB of every CPU that runs the space
// until flush(); so whatever they led to is freed only then.
//
// Invariants   I1 a batch is flushed before it dies, and while its owner holds no lock: a CPU that spins for our lock
//                 with interrupts off could not answer.
// Costs        add O(1). flush: up to kSinglePages single invalidations, else one full flush; one IPI per CPU that has
//              the space loaded (Cpu::space).
#pragma once

#include "base/types.h"
#include "kernel/mm/frame.h"

namespace keel {

class AddressSpace;
class Cpu;

class TlbBatch {
 public:
  TlbBatch() = default;
  TlbBatch(const TlbBatch&) = delete;
  TlbBatch& operator=(const TlbBatch&) = delete;
  ~TlbBatch() {
    if (!empty()) __builtin_trap();  // I1
  }

  void add(VirtAddr first, u64 pages);
  // A page table that has become empty: freed, and uncharged from the space's group, by flush().
  void add_table(Cpu& cpu, Frame& frame);
  bool empty() const { return count_ == 0 && tables_ == Frame::kNone; }
  void flush(Cpu& cpu, AddressSpace& space);

 private:
  static constexpr u32 kRanges = 8;
  static constexpr u64 kSinglePages = 64;

  struct Range {
    VirtAddr first;
    u64 pages = 0;
  };
  Range ranges_[kRanges];
  u32 count_ = 0;
  u64 pages_ = 0;
  bool all_ = false;
  u32 tables_ = Frame::kNone;
};

}  // namespace keel
