#pragma once
#include "kernel/object/object.h"
namespace keel {
class WorkQueue {
 public:
  void push(Work& work) {
    work.next_work_ = nullptr;
    (last_ == nullptr ? first_ : last_->next_work_) = &work;
    last_ = &work;
  }
  // True when nothing is left.
  bool run(Cpu& cpu, unsigned steps) {
    while (first_ != nullptr && steps-- > 0) {
      Work* work = first_;
      first_ = work->next_work_;
      if (first_ == nullptr) last_ = nullptr;
      if (!work->step(cpu)) push(*work);
    }
    return first_ == nullptr;
  }

 private:
  Work* first_ = nullptr;
  Work* last_ = nullptr;
};
}  // namespace keel
