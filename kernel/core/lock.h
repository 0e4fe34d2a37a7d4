// SpinLock: the kernel's only lock. It is taken with interrupts off (the kernel never runs otherwise), held for a
// bounded number of instructions, and never while waiting for anything (law 3).
//
// Order        a CPU takes locks in strictly rising rank; docs/lock-order.md is generated from LockRank below.
//              Nobody holds two locks of one rank.
// Checked      by clang's analysis at compile time, and by rank at run time in dev builds and on the host.
// Costs        one locked instruction, a branch and one store when free.
#pragma once

#include "base/atomic.h"
#include "base/thread_annotations.h"

namespace keel {

class Cpu;

// Lowest first. A lock may be taken while any lock of a smaller rank is held, none of the same or a greater one.
enum class LockRank : u8 {
  process = 10,        // Process: threads, state
  address_space = 20,  // AddressSpace: regions and page tables
  object = 30,         // KObject: the object's derivation tree
  cap_space = 40,      // CapSpace: slots and their free list
  memory = 55,         // MemoryObject: pages
  waitable = 60,       // shared queues: word buckets, process exits, log readers
  scheduler = 65,      // CPU budgets that several CPUs draw on
  interrupts = 70,     // interrupt vectors
  process_list = 80,   // the machine's list of processes
  heap = 85,           // one size class of the kernel heap
  frames = 90,         // the frame allocator of one node
  random = 95,         // random numbers
  devices = 96,        // registers of interrupt controllers
  log = 99,            // kernel log
};

class CAPABILITY("lock") SpinLock {
 public:
  // There is no default rank: whoever adds a lock says where it stands. Its name is for docs/lock-order.md.
  constexpr SpinLock(LockRank rank, const char*) : rank_(rank) {}
  SpinLock(const SpinLock&) = delete;
  SpinLock& operator=(const SpinLock&) = delete;

  void acquire([[maybe_unused]] Cpu& cpu) ACQUIRE() {
#ifdef KEEL_LOCK_CHECKER
    check_acquire(cpu);
#endif
    if ((taken_.fetch_or(1, kAcquire) & 1) != 0) [[unlikely]]
      spin();  // pairs with the release below
  }
  void release([[maybe_unused]] Cpu& cpu) RELEASE() {
#ifdef KEEL_LOCK_CHECKER
    check_release(cpu);
#endif
    taken_.store(0, kRelease);  // pairs with the fetch_or above
  }
  // Tells the analysis that the caller holds this lock under another name.
  void assert_held() const ASSERT_HELD() {}
  LockRank rank() const { return rank_; }

 private:
  [[clang::preserve_most]] void spin();  // so that callers in line keep their registers
  void check_acquire(Cpu& cpu);
  void check_release(Cpu& cpu);

  Atomic<u32> taken_{0};
  LockRank rank_;
};

class SCOPED_CAPABILITY LockGuard {
 public:
  LockGuard(Cpu& cpu, SpinLock& lock) ACQUIRE(lock) : cpu_(cpu), lock_(lock) { lock_.acquire(cpu_); }
  ~LockGuard() RELEASE() { lock_.release(cpu_); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  Cpu& cpu_;
  SpinLock& lock_;
};

}  // namespace keel
