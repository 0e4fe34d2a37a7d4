#include "kernel/core/work.h"

#include "kernel/core/cpu.h"

namespace keel {

void WorkQueue::push(Cpu& cpu, Work& item) {
  LockGuard guard(cpu, lock_);
  item.next_work_ = nullptr;
  if (tail_ != nullptr) {
    tail_->next_work_ = &item;
  } else {
    head_ = &item;
  }
  tail_ = &item;
  size_.fetch_add(1, kRelaxed);
}

Work* WorkQueue::pop(Cpu& cpu) {
  LockGuard guard(cpu, lock_);
  Work* item = head_;
  if (item == nullptr) return nullptr;
  head_ = item->next_work_;
  if (head_ == nullptr) tail_ = nullptr;
  size_.fetch_sub(1, kRelaxed);
  return item;
}

bool WorkQueue::run(Cpu& cpu, u32 steps) {
  Work* item = nullptr;
  while (steps-- > 0) {
    if (item == nullptr && (item = pop(cpu)) == nullptr) return true;
    if (item->step(cpu)) item = nullptr;
  }
  if (item != nullptr) push(cpu, *item);
  return empty();
}

}  // namespace keel
