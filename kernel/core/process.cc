#include "kernel/core/process.h"

#include <arch/context.h>

#include "kernel/core/cpu.h"
#include "kernel/core/machine.h"
#include "kernel/group/group.h"
#include "kernel/ipc/port.h"
#include "kernel/mm/address_space.h"
#include "kernel/mm/heap.h"
#include "kernel/object/notification.h"

namespace keel {

Process::Process(ResourceGroup& group, const ProcessName& name) : KObject(ObjectKind::process, group), name_(name) {}

Result<RefPtr<Process>> Process::create(Cpu& cpu, ResourceGroup& group, const ProcessName& name) {
  auto process = RefPtr<Process>::adopt(TRY(make<Process>(cpu, group, group, name)));
  process->caps.initialise(cpu, *process);
  process->space_ = TRY(AddressSpace::create(cpu, group, cpu.machine.random.next(cpu)));
  cpu.machine.add_process(cpu, *process);
  return process;
}

Result<void> Process::add_thread(Cpu& cpu, Thread& thread) {
  LockGuard guard(cpu, lock_);
  if (!alive()) return Status::bad_state;
  state_ = ProcessState::running;
  thread.directory.use(caps.directory());
  thread.add_ref();
  threads_.push_back(thread);
  thread_count_.fetch_add(1, kRelaxed);
  return {};
}

void Process::use_directory(Cpu& cpu, const CapDirectory& directory) {
  LockGuard guard(cpu, lock_);
  for (Thread* t = threads_.front(); t != nullptr; t = threads_.next(*t)) t->directory.use(directory);
}

void Process::remove_thread(Cpu& cpu, Thread& thread, bool ran) {
  bool last = false;
  {
    LockGuard guard(cpu, lock_);
    threads_.remove(thread);
    last = thread_count_.fetch_sub(1, kRelaxed) == 1;
  }
  add_consumed(thread.own_context.consumed);
  thread.drop_ref();
  if (last && ran) kill(cpu, exit_status_);
}

Thread* Process::next_thread(Cpu& cpu, Thread* previous) {
  LockGuard guard(cpu, lock_);
  return previous == nullptr ? threads_.front() : threads_.next(*previous);
}

void Process::kill(Cpu& cpu, u64 status) {
  if (state_ >= ProcessState::exiting) return;
  state_ = ProcessState::exiting;
  exit_status_ = status;
  add_ref();  // the teardown's
  {
    // No thread of it runs from now on (I2): the fast paths look at the flags, everything else at the state.
    LockGuard guard(cpu, lock_);
    for (Thread* t = threads_.front(); t != nullptr; t = threads_.next(*t)) t->flags |= Thread::kExiting;
  }
  cpu.work.push(cpu, teardown_);
}

bool Process::exit_step(Cpu& cpu) {
  for (u32 i = 0; i < 8; ++i) {
    Thread* thread = next_thread(cpu, nullptr);
    if (thread == nullptr) break;
    thread->kill(cpu);
  }
  if (thread_count() != 0) return false;
  if (keep_capabilities) {
    if (!cpu.machine.restart_manager(cpu, *this)) return false;
    drop_ref();
    return true;
  }
  if (!caps.teardown_step(cpu)) return false;
  if (!leave_and_tear_down(cpu)) return false;
  finish_exit(cpu);
  drop_ref();
  return true;
}

bool Process::leave_and_tear_down(Cpu& cpu) {
  if (!space_) return true;
  if (cpu.space == space_.get()) arch::leave_space(cpu);
  return space_->teardown_step(cpu);
}

void Process::finish_exit(Cpu& cpu) {
  state_ = ProcessState::dead;
  set_handler(nullptr, 0);
  while (Thread* waiter = waiters_.front()) waiter->end_wait(cpu, Status::ok, exit_status_);
  if (watcher_) watcher_->signal(cpu, watcher_bits_);
  watcher_.reset();
}

bool Process::release_step(Cpu& cpu) {
  // Nobody refers to the process any more: one that was created but never ran still holds what it was given.
  if (state_ == ProcessState::dead) return true;
  if (!caps.teardown_step(cpu)) return false;
  if (!leave_and_tear_down(cpu)) return false;
  finish_exit(cpu);
  return true;
}

void Process::destroy(Cpu& cpu) {
  cpu.machine.remove_process(cpu, *this);
  destroy_object(cpu, group(), this);
}

void Process::wait_exit(Cpu& cpu, Thread& thread, CapIndex capability, Deadline deadline) {
  thread.begin_wait(cpu, WaitKind::exit, this, capability, deadline);
  waiters_.push_back(thread);
}

void Process::watch(Cpu& cpu, Notification* notification, u64 bits) {
  if (state_ == ProcessState::dead) {
    notification->signal(cpu, bits);
    return;
  }
  watcher_ = RefPtr<Notification>(*notification);
  watcher_bits_ = bits;
}

// Nobody can see the process any more; it runs on while it has threads.
void Process::on_zero_handles(Cpu& cpu) {
  while (Thread* waiter = waiters_.front()) waiter->abort_wait(cpu, Status::revoked);
}

void Process::wake_revoked(Cpu& cpu) { wake_revoked_waiters(cpu, waiters_); }

void Process::set_handler(RefPtr<Port> port, u64 badge) {
  handler_ = std::move(port);
  handler_badge_ = badge;
}

}  // namespace keel
