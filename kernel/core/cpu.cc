#include "kernel/core/cpu.h"

#include <arch/context.h>

#include "kernel/core/machine.h"
#include "kernel/mm/address_space.h"

namespace keel {

void Cpu::send(Cpu& to, Work& item) {
  if (&to == this) {
    work.push_mail(item);
  } else if (to.work.post(item)) {
    arch::interrupt_cpu(*this, to);
  }
}

void Cpu::go_idle() { machine.busy.remove(index); }
void Cpu::leave_idle() { machine.busy.add(index); }

void Cpu::note_space(const Thread& thread) { thread.space->cpus.add(index); }

u64 Cpu::now_tsc() { return arch::read_clock(*this); }
u64 Cpu::now_ns() { return machine.clock.ns_at(now_tsc()); }

void Cpu::bring_accounts_up_to_date() {
  charge(now_tsc());
  if (context != nullptr) scheduler.settle(*context->account);
}

void Cpu::change_context(SchedulingContext* next, u64 now) {
  charge(now);
  Account* account = next == nullptr ? nullptr : next->account;
  if (context != nullptr && context->account != account) scheduler.settle(*context->account);
  context = next;
  budget_end_ns = kNever;
  if (next == nullptr) return;
  scheduler.expect(*account->queue);
  if (account->limited()) {
    (void)account->exhausted(*this, now);  // takes a slice, if there is one
    const u64 end = account->allowed_until(now);
    if (end != kNever) budget_end_ns = machine.clock.ns_at(end) + 1;  // the conversion rounds down
  }
  if (current == nullptr) return;
  // The current thread goes on at another level: somebody who waited may be above it now, or beside it.
  timer_stale = true;
  if (scheduler.outranks(*next)) reschedule = true;
}

}  // namespace keel
