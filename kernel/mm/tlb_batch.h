// TlbBatch: the translations that one operation took away. They may live on in the TLB of every CPU that runs the space
// until flush(); so whatever they led to is freed only then.
//
// Invariants   I1 a batch is flushed before it dies, and while its owner holds no lock: a CPU that spins for our lock
//                 with interrupts off could not answer.
//              I2 it is made before its owner takes the space's lock: AddressSpace::flushes_due counts those between.
// Several CPUs the space's `cpus` are looked at, and those that have it loaded (Cpu::space) are interrupted; flush()
// spins
//              until they have answered and answers others meanwhile, so two that ask each other both go on. A CPU
//              that loads the space later finds the new entries: it publishes the space before it loads the root, and
//              flush() changes the entries before it looks.
// Costs        add O(1). flush: up to kSinglePages single invalidations, else one full flush; one interrupt per CPU
// that
//              has the space loaded.
#pragma once

#include "base/types.h"
#include "kernel/core/cpu_set.h"
#include "kernel/mm/frame.h"

namespace keel {

class AddressSpace;
class Cpu;

class TlbBatch;

// Of a CPU: who wants it to flush, and how many still have to flush for it.
struct TlbRequests {
  CpuSet askers;
  const TlbBatch* batch = nullptr;  // what the others are to flush; constant while pending
  Atomic<u32> pending{0};
  // Does what others asked for.
  void answer(Cpu& cpu);
};

class TlbBatch {
 public:
  explicit TlbBatch(AddressSpace& space);
  TlbBatch(const TlbBatch&) = delete;
  TlbBatch& operator=(const TlbBatch&) = delete;
  ~TlbBatch() {
    if (!empty()) __builtin_trap();  // I1
  }

  void add(VirtAddr first, u64 pages);
  // A page table that has become empty: freed, and uncharged from the space's group, by flush().
  void add_table(Cpu& cpu, Frame& frame);
  bool empty() const { return count_ == 0 && tables_ == Frame::kNone; }
  // Once.
  void flush(Cpu& cpu);
  // This CPU's TLB only.
  void flush_local() const;

 private:
  static constexpr u32 kRanges = 6;  // few enough for a batch to be cleared in line
  static constexpr u64 kSinglePages = 64;

  struct Range {
    VirtAddr first;
    u64 pages = 0;
  };
  AddressSpace& space_;
  Range ranges_[kRanges];
  u32 count_ = 0;
  u64 pages_ = 0;
  bool all_ = false;
  u32 tables_ = Frame::kNone;
};

}  // namespace keel
