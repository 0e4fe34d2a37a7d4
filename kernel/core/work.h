// WorkQueue: what a CPU still has to finish, in bounded steps: freeing objects, tearing down processes.
//
// It is drained at the end of slow kernel entries, on the time of whoever made the work (law 3), a few steps at a time;
// when some is left the CPU interrupts itself, so that everything urgent runs in between.
//
// Locks        lock_ (rank mailbox): any CPU may push to any queue.
// Costs        push O(1); run is O(steps).
#pragma once

#include "kernel/object/object.h"

namespace keel {

class WorkQueue {
 public:
  // `item` must not be queued already. It stays until one of its steps returns true.
  void push(Cpu& cpu, Work& item);
  // Runs up to `steps` steps. True when the queue is empty afterwards.
  bool run(Cpu& cpu, u32 steps);
  bool empty() const { return size_.load(kRelaxed) == 0; }

 private:
  Work* pop(Cpu& cpu);

  SpinLock lock_{LockRank::mailbox, "work queue"};
  Work* head_ GUARDED_BY(lock_) = nullptr;
  Work* tail_ GUARDED_BY(lock_) = nullptr;
  Atomic<u32> size_{0};
};

}  // namespace keel
