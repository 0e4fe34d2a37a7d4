#include "kernel/core/timer_queue.h"

#include "kernel/core/cpu.h"

namespace keel {

void TimerQueue::add(Cpu& cpu, TimerEntry& entry, Deadline deadline) {
  LockGuard guard(cpu, lock_);
  entry.deadline_ns_ = deadline.value;
  entry.queued_on_ = &cpu;
  entries_.insert(entry);
  if (entries_.first() == &entry) cpu.timer_stale = true;
}

void TimerQueue::remove(Cpu& cpu, TimerEntry& entry) {
  if (entry.queued_on_ == nullptr) return;
  TimerQueue& queue = entry.queued_on_->timers;
  LockGuard guard(cpu, queue.lock_);
  queue.entries_.erase(entry);
  entry.queued_on_ = nullptr;
}

bool TimerQueue::run(Cpu& cpu, u64 now_ns, u32 most) {
  while (most-- > 0) {
    TimerEntry* entry = nullptr;
    {
      LockGuard guard(cpu, lock_);
      entry = entries_.first();
      if (entry == nullptr || entry->deadline_ns_ > now_ns) return true;
      entries_.erase(*entry);
      entry->queued_on_ = nullptr;
    }
    entry->expired(cpu);
  }
  return earliest(cpu).value > now_ns;
}

Deadline TimerQueue::earliest(Cpu& cpu) {
  LockGuard guard(cpu, lock_);
  TimerEntry* entry = entries_.first();
  return entry == nullptr ? kForever : Deadline(entry->deadline_ns_);
}

}  // namespace keel
