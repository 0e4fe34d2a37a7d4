#include "kernel/core/timer_queue.h"

#include "kernel/core/cpu.h"

namespace keel {

void TimerQueue::add(Cpu& cpu, TimerEntry& entry, Deadline deadline) {
  entry.deadline_ns_ = deadline.value;
  entry.queued_ = true;
  entries_.insert(entry);
  if (entries_.first() == &entry) cpu.timer_stale = true;
}

void TimerQueue::remove(Cpu& cpu, TimerEntry& entry) {
  if (!entry.queued_) return;
  cpu.timers.entries_.erase(entry);
  entry.queued_ = false;
}

bool TimerQueue::run(Cpu& cpu, u64 now_ns, u32 most) {
  while (most-- > 0) {
    TimerEntry* entry = entries_.first();
    if (entry == nullptr || entry->deadline_ns_ > now_ns) return true;
    entries_.erase(*entry);
    entry->queued_ = false;
    entry->expired(cpu);
  }
  return earliest().value > now_ns;
}

Deadline TimerQueue::earliest() const {
  const TimerEntry* entry = entries_.first();
  return entry == nullptr ? kForever : Deadline(entry->deadline_ns_);
}

}  // namespace keel
