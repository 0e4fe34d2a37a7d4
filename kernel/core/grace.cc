#include "kernel/core/grace.h"

#include <arch/context.h>

#include "kernel/core/machine.h"

namespace keel {

void Grace::retire(Cpu& cpu, Work& item) {
  if (is_over(cpu)) {
    cpu.work.push(item);
    return;
  }
  item.next_work_ = gathered_;
  gathered_ = &item;
}

void Grace::quiesce(Cpu& cpu) {
  askers.take_each([&](u32 asker) {
    Cpu& other = *cpu.machine.cpus[asker];
    // The last one tells. Acquire and release: what all of them read before is read before the asker frees it.
    if (other.grace.pending_.fetch_sub(1, kAcqRel) == 1) cpu.send(other, other.grace.over_);
  });
  if (gathered_ != nullptr && !under_way_) begin(cpu);
}

void Grace::begin(Cpu& cpu) {
  waiting_ = gathered_;
  gathered_ = nullptr;
  under_way_ = true;
  pending_.store(1, kRelaxed);  // ours, until all have been asked
  cpu.machine.busy.for_each([&](u32 index) {
    if (index == cpu.index) return;
    Cpu& other = *cpu.machine.cpus[index];
    pending_.fetch_add(1, kRelaxed);
    other.grace.askers.add(cpu.index);
    arch::interrupt_cpu(cpu, other);
  });
  if (pending_.fetch_sub(1, kAcqRel) == 1) hand_out(cpu);
}

void Grace::hand_out(Cpu& cpu) {
  under_way_ = false;
  while (waiting_ != nullptr) {
    Work* item = waiting_;
    waiting_ = item->next_work_;
    cpu.work.push(*item);
  }
}

void Grace::Over::arrive(Cpu& cpu) { cpu.grace.hand_out(cpu); }

}  // namespace keel
