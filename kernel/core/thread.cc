#include "kernel/core/thread.h"

#include <arch/context.h>
#include <arch/memory.h>

#include "kernel/core/clock.h"
#include "kernel/core/cpu.h"
#include "kernel/core/entry.h"
#include "kernel/core/machine.h"
#include "kernel/core/process.h"
#include "kernel/core/reservation.h"
#include "kernel/core/shared_queue.h"
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

Result<MessageMemory> MessageMemory::create(Cpu& cpu, Process& process) {
  auto memory = TRY(MemoryObject::create_anonymous(cpu, process.group(), 1));
  u64 frame = 0;
  TRY(memory->pin(cpu, 0, 1, &frame));
  Result<VirtAddr> at = process.space()->map(
      cpu, {.memory = *memory, .pages = 1, .prot = Protection::read_write, .max = Protection::read_write});
  if (!at.has_value()) {
    memory->unpin(cpu, 0, 1);
    return at.status();
  }
  return MessageMemory{std::move(memory), static_cast<MessagePage*>(phys_to_virt(PhysAddr(frame))), *at};
}

void MessageMemory::release(Cpu& cpu, Process& process) {
  if (!memory) return;
  (void)process.space()->unmap(cpu, at, kPageSize);  // one page; false only when the space is going anyway
  memory->unpin(cpu, 0, 1);
  memory.reset();
}

Result<RefPtr<Thread>> Thread::create(Cpu& cpu, Process& process, u32 level) {
  MessageMemory page = process.take_page(cpu);
  if (!page.memory) page = TRY(MessageMemory::create(cpu, process));
  auto made = make<Thread>(cpu, process.group(), process.group(), process, level);
  if (!made.has_value()) {
    page.release(cpu, process);
    return made.status();
  }
  auto thread = RefPtr<Thread>::adopt(*made);
  thread->assign(cpu, cpu);
  thread->message_page = page.page;
  thread->message_page_user = page.at;
  process.add_ref();  // dropped in destroy()
  Result<void> joined = process.add_thread(cpu, *thread);
  if (!joined.has_value()) {
    page.release(cpu, process);
    return joined.status();
  }
  thread->message_memory_ = std::move(page.memory);
  return thread;
}

void Thread::destroy(Cpu& cpu) {
  machine().count_thread(-1);
  Process* owner = message_page != nullptr ? process : nullptr;
  destroy_object(cpu, group(), this);
  if (owner != nullptr) owner->drop_ref();
}

void Thread::begin_wait(Cpu& on, WaitKind kind, KObject* object, CapIndex capability, Deadline deadline) {
  phase = {ThreadStatus::waiting, kind};
  wait.object = object;
  wait.capability = capability;
  wait.shared = nullptr;
  if (deadline == kForever) return;
  set_flags(kTimed);
  on.timers.add(on, *this, deadline);
}

bool Thread::take_cancel() {
  if (!has_flags(kCancel)) return false;
  clear_flags(kCancel);
  return true;
}

void Thread::make_ready(Cpu& on) {
  if (!may_run_on(*run_on)) {
    phase = {ThreadStatus::waiting};  // in no queue
    obey_affinity(on, *this);
  }
  if (run_on != &on) {
    depart(on, *run_on, Travel::ready);
    return;
  }
  if (has_flags(kSuspend | kExiting)) {
    phase = {ThreadStatus::waiting, WaitKind::stopped};
    return;
  }
  phase = {ThreadStatus::ready};
  enqueue(on);
}

void Thread::enqueue(Cpu& on) {
  on.scheduler.enqueue_back(*this);
  if (on.current == nullptr || on.context == nullptr) return;
  if (on.scheduler.preempts(*context, *on.context)) on.reschedule = true;
  on.timer_stale = true;  // the quantum counts now
}

void Thread::requeue(Cpu& on) {
  on.scheduler.remove(*this);
  enqueue(on);
}

bool Thread::may_run_on(const Cpu& cpu) const { return (affinity >> cpu.index % 64 & 1) != 0; }

void Thread::assign(Cpu& from, Cpu& to) {
  set_home(to);
  run_at(from, to);
}

Port& Thread::receiving_from() const { return serves != nullptr ? *serves : *static_cast<Port*>(wait.object); }

void Thread::leave_port() {
  if (serves != nullptr) serves->dismiss(*this);
}

void Thread::run_at(Cpu& from, Cpu& to) {
  if (lender != nullptr && &from != &to) lender->stop_lending(from);
  if (from.context == &own_context && &from != &to) from.change_context(nullptr);  // charged while it is still ours
  run_on = &to;
  own_context.set_account(reservation ? reservation->account() : process->group().queue(to).account);
  to.note_space(*this);
}

void Thread::change_home(Cpu& from, Cpu& to) {
  if (from.loaded == this) arch::unload_thread(from);
  if (from.current == this && &to != &from) {  // it may run elsewhere before this entry is over
    from.change_context(nullptr);
    from.current = nullptr;
  }
  set_home(to);
}

void Thread::depart(Cpu& from, Cpu& to, Travel what) {
  const bool leaves_home = run_on == &from && &to != &from;
  set_flags(kMoving);
  phase = {ThreadStatus::waiting, WaitKind::travel, phase.fault, phase.forwarded};
  travel_ = what;
  // A port keeps no server that is about to receive elsewhere.
  if (leaves_home && serves != nullptr && what == Travel::call && caller == nullptr) serves->dismiss(*this);
  if (caller != nullptr) own_context.causality = context->causality;
  if (leaves_home) {
    part(from);
  } else if (caller != nullptr && !away_ && &to != &from) {
    // It got the call here and runs there: whoever waits for its reply goes along, and so does the deadline.
    caller->set_flags(kMoving);
    if (caller->run_on == &from) caller->part(from);
    if (caller->has_flags(kTimed)) TimerQueue::remove(from, *caller);
    caller->change_home(from, to);
    context = &own_context;
  }
  change_home(from, to);
  if (has_flags(kTimed)) TimerQueue::remove(from, *this);  // its call, which is forwarded, has a deadline
  if (&to == &from) arch::relax();                         // it waits for another CPU's mail
  from.send(to, traveller_);                               // from here on it may be running elsewhere
}

// It leaves the CPU that it runs on. Contexts do not cross CPUs; who waits for its reply stays (I6).
void Thread::part(Cpu& from) {
  if (lender != nullptr) lender->stop_lending(from);
  if (caller == nullptr || away_) return;
  away_ = true;
  caller->add_ref();
  context = &own_context;
}

// It has arrived where it runs: what became of the call that it serves?
void Thread::settle(Cpu& on) {
  if (caller == nullptr) return;
  Thread* client = caller;
  if (away_) {
    away_ = false;
    if (client->callee != this) caller = nullptr;  // it stopped waiting
    client->drop_ref();
  } else if (client->has_flags(kMoving)) {
    client->clear_flags(kMoving);
    if (client->has_flags(kTimed)) on.timers.add(on, *client, client->deadline());
    if (client->run_on == &on) client->settle(on);  // it was away and is carried home
  }
  if (caller != nullptr && caller->run_on == &on) context = caller->context;
}

void Thread::arrived(Cpu& on) {
  if (travel_ == Travel::wake) {
    if (waits() && wait.shared != nullptr) {  // else it was killed
      if (wake_status_ == Status::restart) {
        state.restart_call();
        end_wait_with_message(on);
      } else {
        end_wait(on, wake_status_, wake_word_);
      }
    }
    drop_ref();
    return;
  }
  clear_flags(kMoving);
  if (run_on == &on) settle(on);
  if (travel_ == Travel::forward) {
    if (has_flags(kTimed)) on.timers.add(on, *this, deadline());
    static_cast<Port*>(wait.object)->take_forwarded(on, *this);
  } else if (travel_ == Travel::ready || has_flags(kExiting)) {
    make_ready(on);
  } else if (travel_ == Travel::call) {
    visit(on, *this);
  } else {
    visit_with_fault(on, *this);
  }
}

void Thread::wake_claimed(Cpu& cpu, Status status, u64 word0) {
  travel_ = Travel::wake;
  wake_status_ = status;
  wake_word_ = word0;
  if (home() == &cpu) {
    arrived(cpu);
  } else {
    cpu.send(*home(), traveller_);
  }
}

void Thread::wait_for_grace(Cpu& on) {
  if (on.grace.is_over(on)) return;
  begin_wait(on, WaitKind::grace, nullptr, kNoCapability, kForever);
  add_ref();  // the period's
  on.grace.retire(on, grace_over_);
}

bool Thread::GraceOver::step(Cpu& cpu) {
  if (thread_.is_here(cpu) && thread_.waits_for(WaitKind::grace))
    thread_.end_wait(cpu, Status::ok);  // else it was killed
  thread_.drop_ref();
  return true;
}

void Thread::leave_wait(Cpu& on) {
  if (has_flags(kTimed)) TimerQueue::remove(on, *this);
  if (phase.wait == WaitKind::receive) receiving_from().receiver_left(*this);
  if (phase.wait == WaitKind::send) static_cast<Port*>(wait.object)->caller_left(on, *this);
  if (wait.shared == nullptr && wait_queue.linked()) wait_queue.unlink();
  wait.shared = nullptr;
  clear_flags(kTimed | kFaulted);
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
  if (flags.load(kRelaxed) == 0 && !on.reschedule && on.context == context && run_on == &on && on.current != nullptr &&
      on.current->waits()) {
    phase = {ThreadStatus::running};
    on.current = this;
    return;
  }
  const bool stays = run_on == &on;
  make_ready(on);
  if (!stays || phase.status != ThreadStatus::ready) return;
  on.scheduler.remove(*this);
  on.scheduler.enqueue_front(*this);
}

void Thread::leave_callee(Cpu& on) {
  if (reply_object != nullptr) {
    reply_object->forget_caller(on);
    reply_object = nullptr;
  }
  Thread* server = callee;
  if (server == nullptr) return;
  callee = nullptr;
  if (server->away_) return;  // it will look when it is back: I6
  server->caller = nullptr;
  if (server->lender != nullptr) server->lender->borrower = nullptr;
  server->lender = nullptr;
  // I4: whoever ran on our context through this call goes on with the server's own.
  SchedulingContext& lost = *server->context;
  move_contexts(on, server, lost, server->own_context);
  if (lost.level != lost.base_level) refresh_level(on, lost);
  if (server->serves != nullptr && server->serves->has_callers()) refresh_level(on, server->own_context);
}

void Thread::fail_caller(Cpu& on, Status result) {
  Thread* client = caller;
  if (client == nullptr) return;
  bool fault_wait = client->phase.fault;
  client->leave_callee(on);
  if (fault_wait) {
    client->process->kill(on, ~u64{0});  // its fault handler died with the fault in hand
    return;
  }
  client->end_wait(on, result);
}

void Thread::abort_wait(Cpu& on, Status result) {
  if (!waits() || phase.wait == WaitKind::stopped) return;
  if (wait.shared != nullptr && !SharedQueue::leave(on, *this)) return;  // its wait is ending already
  if (phase.wait == WaitKind::reply) leave_callee(on);
  if (phase.fault) {  // a fault is not a call: no status fits; the thread runs into the fault again
    end_wait_with_message(on);
    return;
  }
  end_wait(on, result);
}

bool Thread::call_home(Cpu& on) {
  if (phase.wait == WaitKind::reply || phase.forwarded) return false;
  if (phase.wait == WaitKind::grace) return true;  // soon over
  if (phase.wait == WaitKind::travel) {
    if (travel_ == Travel::call) state.restart_call();
    travel_ = Travel::ready;
    return true;
  }
  if (wait.shared != nullptr && !SharedQueue::leave(on, *this)) return true;
  if (phase.wait != WaitKind::stopped && !phase.fault) state.restart_call();
  end_wait_with_message(on);
  return true;
}

void Thread::expired(Cpu& on) {
  if (waits()) abort_wait(on, Status::timed_out);
}

void Thread::start(Cpu& on, u64 entry, u64 stack, u64 argument0, u64 argument1) {
  state.start(entry, stack, argument0, argument1);
  if (!reservation) run_at(on, choose_cpu(on, *this));  // that is one CPU's
  make_ready(on);
}

void Thread::suspend(Cpu& on) {
  set_flags(kSuspend);
  if (phase.status == ThreadStatus::ready) {
    on.scheduler.remove(*this);
    phase = {ThreadStatus::waiting, WaitKind::stopped};
  } else if (phase.status == ThreadStatus::running) {
    on.reschedule = true;  // leave_kernel() parks it
  }
}

void Thread::resume(Cpu& on) {
  clear_flags(kSuspend);
  if (waits() && phase.wait == WaitKind::stopped) {
    make_ready(on);
  }
}

void Thread::cancel(Cpu& on) {
  const bool can_end = phase.wait != WaitKind::stopped && phase.wait != WaitKind::grace && !has_flags(kMoving);
  if (waits() && can_end && !phase.fault) {
    abort_wait(on, Status::cancelled);
  } else if (phase.status != ThreadStatus::dead) {
    set_flags(kCancel);
  }
}

void Thread::on_zero_handles(Cpu& on) {
  if (phase.status == ThreadStatus::fresh) kill(on);  // nobody can start it any more
}

bool Thread::kill(Cpu& on) {
  if (phase.status == ThreadStatus::dead) return true;
  const bool ran = phase.status != ThreadStatus::fresh;
  set_flags(kExiting);
  if (run_on != &on) {  // its caller is there, if it has one
    if (wait.shared == nullptr || SharedQueue::leave(on, *this)) {
      if (phase.wait == WaitKind::reply) leave_callee(on);
      leave_wait(on);
      make_ready(on);
    }
    return false;
  }
  if (phase.status == ThreadStatus::ready) on.scheduler.remove(*this);
  if (waits()) {
    if (wait.shared != nullptr) (void)SharedQueue::leave(on, *this);
    if (phase.wait == WaitKind::reply) leave_callee(on);
    leave_wait(on);
  }
  phase = {ThreadStatus::dead};
  unfinished.reset();
  if (lender != nullptr) lender->stop_lending(on);
  if (serves != nullptr) serves->dismiss(*this);
  if (on.loaded == this) on.loaded = nullptr;
  if (on.current == this) {  // it may be freed before the kernel is left
    on.change_context(nullptr);
    on.current = nullptr;
  }
  fail_caller(on, Status::peer_died);
  if (reservation) set_reservation(on, nullptr, own_context.base_level);
  MessageMemory page{std::move(message_memory_), message_page, message_page_user};
  if (ran) process->keep_page(on, page);
  page.release(on, *process);
  process->remove_thread(on, *this, ran);
  return true;
}

void Thread::set_level(Cpu& on, u32 level) {
  own_context.base_level = level;
  refresh_level(on, own_context);
}

void Thread::set_reservation(Cpu& on, Reservation* to, u32 level) {
  Thread* const runner = runner_of(on, own_context);
  const bool queued = runner != nullptr && runner->phase.status == ThreadStatus::ready;
  if (queued) on.scheduler.remove(*runner);  // it may be parked at the account that goes
  if (reservation) reservation->leave(*this);
  if (to != nullptr) to->join(*this);
  // Others may run on it: whoever pays from now on is another.
  if (on.context == &own_context) on.bring_accounts_up_to_date();
  own_context.set_account(to != nullptr ? to->account() : process->group().queue(*run_on).account);
  if (queued) on.scheduler.enqueue_back(*runner);
  if (on.context == &own_context) on.change_context(&own_context);
  if (phase.status != ThreadStatus::dead) set_level(on, level);
}

u64 Thread::uncharged(Cpu& cpu) const {
  if (run_on->context != &own_context) return 0;
  const u64 since = run_on->context_since;
  const u64 now = cpu.now_tsc();
  return now > since ? now - since : 0;
}

u64 Thread::consumed_ns(Cpu& cpu) const { return machine().clock.to_ns(own_context.consumed + uncharged(cpu)); }

}  // namespace keel
