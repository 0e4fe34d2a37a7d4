#include "kernel/core/thread.h"

#include <arch/memory.h>

#include "kernel/core/clock.h"
#include "kernel/core/cpu.h"
#include "kernel/core/machine.h"
#include "kernel/core/process.h"
#include "kernel/core/reservation.h"
#include "kernel/group/group.h"
#include "kernel/ipc/port.h"
#include "kernel/mm/address_space.h"
#include "kernel/mm/heap.h"
#include "kernel/object/reply.h"

namespace keel {

Thread::Thread(ResourceGroup& group, Process& owner, u32 level)
    : KObject(ObjectKind::thread, group), space(owner.space()), process(&owner) {
  own_context.level = own_context.base_level = level;
  own_context.owner = this;
  machine().count_thread(1);
}

Result<RefPtr<Thread>> Thread::create(Cpu& cpu, Process& process, u32 level) {
  auto memory = TRY(MemoryObject::create_anonymous(cpu, process.group(), 1));
  PhysAddr frame = TRY(memory->page(cpu, 0, Access::write));
  TRY(memory->pin(cpu, 0, 1));
  auto made = make<Thread>(cpu, process.group(), process.group(), process, level);
  if (!made.has_value()) {
    memory->unpin(cpu, 0, 1);
    return made.status();
  }
  auto thread = RefPtr<Thread>::adopt(*made);
  thread->cpu = &cpu;
  thread->own_context.account = &process.group().queue(cpu).account;
  thread->directory = process.caps.directory();
  thread->message_memory_ = memory;
  thread->message_page = static_cast<MessagePage*>(phys_to_virt(frame));
  process.add_ref();  // dropped in destroy()
  thread->message_page_user = TRY(process.space()->map(
      cpu, {.memory = *memory, .pages = 1, .prot = Protection::read_write, .max = Protection::read_write}));
  Result<void> joined = process.add_thread(cpu, *thread);
  if (!joined.has_value()) {
    (void)process.space()->unmap(cpu, thread->message_page_user, kPageSize);  // one page: no split, no second step
    return joined.status();
  }
  return thread;
}

void Thread::destroy(Cpu& cpu) {
  machine().count_thread(-1);
  if (message_memory_) message_memory_->unpin(cpu, 0, 1);
  Process* owner = process;
  bool joined = message_memory_ && owner != nullptr;
  destroy_object(cpu, group(), this);
  if (joined) owner->drop_ref();
}

void Thread::begin_wait(Cpu& on, WaitKind kind, KObject* object, CapIndex capability, Deadline deadline) {
  phase = {ThreadStatus::waiting, kind};
  wait.object = object;
  wait.capability = capability;
  if (deadline == kForever) return;
  flags |= kTimed;
  on.timers.add(on, *this, deadline);
}

void Thread::make_ready(Cpu& on) {
  if ((flags & (kSuspend | kExiting)) != 0) {
    phase = {ThreadStatus::waiting, WaitKind::stopped};
    return;
  }
  phase = {ThreadStatus::ready};
  on.scheduler.enqueue_back(*this);
  if (on.current == nullptr || on.context == nullptr) return;
  if (on.scheduler.preempts(*context, *on.context)) on.reschedule = true;
  on.timer_stale = true;  // the quantum counts now
}

void Thread::leave_wait(Cpu& on) {
  if ((flags & kTimed) != 0) TimerQueue::remove(on, *this);
  if (phase.wait == WaitKind::receive) serves->receiver_left(*this);
  if (phase.wait == WaitKind::send) static_cast<Port*>(wait.object)->caller_left(*this);
  if (wait_queue.linked()) wait_queue.unlink();
  flags &= ~(kTimed | kFaulted);
  phase = {ThreadStatus::waiting};
}

void Thread::end_wait(Cpu& on, Status result, u64 word0) {
  state.rax = u64(result);
  state.rdi = 0;
  for (u64& word : state.word) word = 0;
  state.word[0] = word0;
  end_wait_with_message(on);
}

void Thread::end_wait_with_message(Cpu& on) {
  leave_wait(on);
  make_ready(on);
}

void Thread::end_wait_with_handoff(Cpu& on) {
  leave_wait(on);
  if (flags == 0 && !on.reschedule && on.context == context && on.current != nullptr && on.current->waits()) {
    phase = {ThreadStatus::running};
    on.current = this;
    return;
  }
  make_ready(on);
  if (phase.status != ThreadStatus::ready) return;
  on.scheduler.remove(*this);
  on.scheduler.enqueue_front(*this);
}

void Thread::leave_callee() {
  if (reply_object != nullptr) {
    reply_object->forget_caller();
    reply_object = nullptr;
  }
  Thread* server = callee;
  if (server == nullptr) return;
  callee = nullptr;
  server->caller = nullptr;
  if (server->lender != nullptr) server->lender->borrower = nullptr;
  server->lender = nullptr;
  // I4: whoever ran on our context through this call goes on with the server's own.
  SchedulingContext& lost = *server->context;
  move_contexts(server, lost, server->own_context);
  if (lost.level != lost.base_level) refresh_level(*cpu, lost);
  if (server->serves != nullptr && server->serves->has_callers()) refresh_level(*cpu, server->own_context);
}

void Thread::fail_caller(Cpu& on, Status result) {
  Thread* client = caller;
  if (client == nullptr) return;
  bool fault_wait = client->phase.fault;
  client->leave_callee();
  if (fault_wait) {
    client->process->kill(on, ~u64{0});  // its fault handler died with the fault in hand
    return;
  }
  client->end_wait(on, result);
}

void Thread::abort_wait(Cpu& on, Status result) {
  if (!waits() || phase.wait == WaitKind::stopped) return;
  if (phase.wait == WaitKind::reply) leave_callee();
  if (phase.fault) {  // a fault is not a call: no status fits; the thread runs into the fault again
    end_wait_with_message(on);
    return;
  }
  end_wait(on, result);
}

void Thread::expired(Cpu& on) {
  if (waits()) abort_wait(on, Status::timed_out);
}

void Thread::start(Cpu& on, u64 entry, u64 stack, u64 argument0, u64 argument1) {
  state.start(entry, stack, argument0, argument1);
  make_ready(on);
}

void Thread::suspend(Cpu& on) {
  flags |= kSuspend;
  if (phase.status == ThreadStatus::ready) {
    on.scheduler.remove(*this);
    phase = {ThreadStatus::waiting, WaitKind::stopped};
  } else if (phase.status == ThreadStatus::running) {
    on.reschedule = true;  // leave_kernel() parks it
  }
}

void Thread::resume(Cpu& on) {
  flags &= ~kSuspend;
  if (waits() && phase.wait == WaitKind::stopped) {
    make_ready(on);
  }
}

void Thread::cancel(Cpu& on) {
  if (waits() && phase.wait != WaitKind::stopped && !phase.fault) {
    abort_wait(on, Status::cancelled);
  } else if (phase.status != ThreadStatus::dead) {
    flags |= kCancel;
  }
}

void Thread::on_zero_handles(Cpu& on) {
  if (phase.status == ThreadStatus::fresh) kill(on);  // nobody can start it any more
}

void Thread::kill(Cpu& on) {
  if (phase.status == ThreadStatus::dead) return;
  const bool ran = phase.status != ThreadStatus::fresh;
  flags |= kExiting;
  if (phase.status == ThreadStatus::ready) on.scheduler.remove(*this);
  if (waits()) {
    if (phase.wait == WaitKind::reply) leave_callee();
    leave_wait(on);
  }
  phase = {ThreadStatus::dead};
  if (lender != nullptr) lender->stop_lending();
  if (serves != nullptr) serves->dismiss(*this);
  if (on.loaded == this) on.loaded = nullptr;
  if (on.current == this) {  // it may be freed before the kernel is left
    on.change_context(nullptr);
    on.current = nullptr;
  }
  fail_caller(on, Status::peer_died);
  if (reservation) set_reservation(on, nullptr, own_context.base_level);
  (void)process->space()->unmap(on, message_page_user, kPageSize);  // false only when the space is going anyway
  process->remove_thread(on, *this, ran);
}

void Thread::set_level(Cpu& on, u32 level) {
  own_context.base_level = level;
  refresh_level(on, own_context);
}

void Thread::set_reservation(Cpu& on, Reservation* to, u32 level) {
  const bool queued = phase.status == ThreadStatus::ready && context == &own_context;
  if (queued) on.scheduler.remove(*this);
  if (reservation) reservation->leave(*this);
  if (to != nullptr) to->join(*this);
  // Others may run on it: whoever pays from now on is another.
  if (on.context == &own_context) on.bring_accounts_up_to_date();
  own_context.account = to != nullptr ? &to->account() : &process->group().queue(*cpu).account;
  if (queued) on.scheduler.enqueue_back(*this);
  if (on.context == &own_context) on.change_context(&own_context);
  if (phase.status != ThreadStatus::dead) set_level(on, level);
}

u64 Thread::consumed_ns() const { return machine().clock.to_ns(own_context.consumed); }

}  // namespace keel
