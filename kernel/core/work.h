// WorkQueue: what a CPU still has to do: what others sent it (the mailbox), and what it finishes in bounded steps
// (freeing objects, tearing down processes).
//
// Both are looked at at the end of slow kernel entries, on the time of whoever made the work (law 3): mail first, then
// a few steps of the rest; when something is left the CPU interrupts itself, so that everything urgent runs in between.
//
// Invariants   I1 an item is in at most one queue of one CPU.
//              I2 mail from one CPU arrives in the order in which it was sent, and so does mail that was sent one
//                 because of the other (the stack has one order).
// Locks        none. post() may be called by any CPU; everything else by the queue's own.
// Costs        push, post O(1): post is one compare-and-exchange. run is O(steps).
// See          docs/adr/0007-multiprocessor.md; Treiber, Systems Programming: Coping with Parallelism, 1986
#pragma once

#include "kernel/object/object.h"

namespace keel {

class WorkQueue {
 public:
  // Mail handed out in one entry: each may be a system call that came from elsewhere.
  static constexpr u32 kMailPerRun = 4;

  // `item` must not be queued already. It stays until one of its steps returns true.
  void push(Work& item) { background_.push(item); }
  // For the CPU itself: as if it had been posted.
  void push_mail(Work& item) { inbox_.push(item); }
  // From another CPU. True when the queue's CPU must be interrupted: whoever posted before has not been heard yet.
  bool post(Work& item) {
    Work* head = mail_.load(kRelaxed);
    do {
      item.next_work_ = head;
    } while (!mail_.compare_exchange(&head, &item, kSeqCst));  // pairs with collect()
    return head == nullptr;
  }
  // The one piece of mail, if nothing else is there.
  Work* take_only() {
    Work* item = mail_.load(kAcquire);
    if (item == nullptr || item->next_work_ != nullptr || !inbox_.empty() || !background_.empty()) return nullptr;
    return mail_.compare_exchange(&item, nullptr, kSeqCst) ? item : nullptr;  // as collect()
  }
  // Hands out mail, then runs up to `steps` steps. True when nothing is left.
  bool run(Cpu& cpu, u32 steps);
  bool empty() const { return mail_.load(kRelaxed) == nullptr && inbox_.empty() && background_.empty(); }
  // Mail that there was no time for.
  bool has_inbox() const { return !inbox_.empty(); }
  bool has_mail() const { return mail_.load(kSeqCst) != nullptr; }

 private:
  struct List {
    Work* head = nullptr;
    Work* tail = nullptr;
    bool empty() const { return head == nullptr; }
    void push(Work& item);
    Work* pop();
  };
  void collect();

  Atomic<Work*> mail_{nullptr};  // newest first
  List inbox_;                   // oldest first
  List background_;
};

// Items for whichever CPU leaves the kernel next: objects whose last reference went where no CPU was at hand.
class Orphanage {
 public:
  void add(Work& item);
  bool empty() const { return head_.load(kRelaxed) == nullptr; }
  // Takes all in and pushes them to this CPU's queue.
  void adopt(Cpu& cpu);

 private:
  Atomic<Work*> head_{nullptr};
};

}  // namespace keel
