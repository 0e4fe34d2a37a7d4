#include "kernel/core/timer_queue.h"

#include "kernel/core/cpu.h"

namespace keel {

void TimerQueue::add(Cpu& cpu, TimerEntry& entry, Deadline deadline) {
  entry.deadline_ns_ = deadline.value;
#ifdef KEEL_LOCK_CHECKER
  if (entry.queue_ != nullptr) __builtin_trap();
#endif
  entry.queue_ = this;
  entries_.insert(entry);
  if (entries_.first() == &entry) cpu.timer_stale = true;
}

void TimerQueue::remove(Cpu& cpu, TimerEntry& entry) {
  if (entry.queue_ == nullptr) return;
#ifdef KEEL_LOCK_CHECKER
  if (entry.queue_ != &cpu.timers) __builtin_trap();
#endif
  cpu.timers.entries_.erase(entry);
  entry.queue_ = nullptr;
}

bool TimerQueue::run(Cpu& cpu, u64 now_ns, u32 most) {
  while (most-- > 0) {
    TimerEntry* entry = entries_.first();
    if (entry == nullptr || entry->deadline_ns_ > now_ns) return true;
    entries_.erase(*entry);
    entry->queue_ = nullptr;
    entry->expired(cpu);
  }
  return earliest().value > now_ns;
}

Deadline TimerQueue::earliest() const {
  const TimerEntry* entry = entries_.first();
  return entry == nullptr ? kForever : Deadline(entry->deadline_ns_);
}

}  // namespace keel
