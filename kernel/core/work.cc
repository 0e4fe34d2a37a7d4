#include "kernel/core/work.h"

#include "kernel/core/cpu.h"

namespace keel {

void Work::arrive(Cpu& cpu) { cpu.work.push(*this); }

void WorkQueue::List::push(Work& item) {
  item.next_work_ = nullptr;
  (tail != nullptr ? tail->next_work_ : head) = &item;
  tail = &item;
}

Work* WorkQueue::List::pop() {
  Work* item = head;
  if (item == nullptr) return nullptr;
  head = item->next_work_;
  if (head == nullptr) tail = nullptr;
  return item;
}

void WorkQueue::collect() {
  if (mail_.load(kRelaxed) == nullptr) return;
  Work* newest = mail_.exchange(nullptr, kSeqCst);  // pairs with post(): what the senders did before is seen
  Work* oldest = nullptr;
  while (newest != nullptr) {
    Work* next = newest->next_work_;
    newest->next_work_ = oldest;
    oldest = newest;
    newest = next;
  }
  while (oldest != nullptr) {
    Work* next = oldest->next_work_;
    inbox_.push(*oldest);
    oldest = next;
  }
}

bool WorkQueue::run(Cpu& cpu, u32 steps) {
  collect();
  Work* const last = inbox_.tail;  // what arrives may send more, here too: next time
  for (u32 i = 0; i < kMailPerRun; ++i) {
    Work* item = inbox_.pop();
    if (item == nullptr) break;
    item->arrive(cpu);
    if (item == last) break;
  }
  Work* item = nullptr;
  while (steps-- > 0) {
    if (item == nullptr && (item = background_.pop()) == nullptr) break;
    if (item->step(cpu)) item = nullptr;
  }
  if (item != nullptr) background_.push(*item);
  return empty();
}

void Orphanage::add(Work& item) {
  Work* head = head_.load(kRelaxed);
  do {
    item.next_work_ = head;
  } while (!head_.compare_exchange(&head, &item, kAcqRel));  // pairs with adopt()
}

void Orphanage::adopt(Cpu& cpu) {
  Work* item = head_.exchange(nullptr, kAcqRel);  // pairs with add()
  while (item != nullptr) {
    Work* next = item->next_work_;
    cpu.work.push(*item);
    item = next;
  }
}

}  // namespace keel
