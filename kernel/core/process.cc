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
namespace {

constexpr u32 kThreadsPerStep = 2;  // law 3 and docs/invariants.md, "bounded work"
constexpr u32 kThreadsPassed = 256;

}  // namespace

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
  state_.store(ProcessState::running, kRelaxed);
  thread.directory.use(caps.directory());
  thread.add_ref();
  threads_.push_back(thread);
  thread_count_.fetch_add(1, kRelaxed);
  return {};
}

void Process::keep_page(Cpu& cpu, MessageMemory& page) {
  LockGuard guard(cpu, lock_);
  if (alive() && !spare_page_.memory) std::swap(spare_page_, page);
}

MessageMemory Process::take_page(Cpu& cpu) {
  LockGuard guard(cpu, lock_);
  return std::exchange(spare_page_, {});
}

void Process::use_directory(Cpu& cpu, const CapDirectory& directory) {
  LockGuard guard(cpu, lock_);
  for (Thread* t = threads_.front(); t != nullptr; t = threads_.next(*t)) t->directory.use(directory);
}

void Process::remove_thread(Cpu& cpu, Thread& thread, bool ran) {
  bool last = false;
  {
    LockGuard guard(cpu, lock_);
    if (listed_ == &thread) listed_ = nullptr;
    threads_.remove(thread);
    add_consumed(thread.own_context.consumed);
    last = thread_count_.fetch_sub(1, kRelaxed) == 1;
  }
  thread.drop_ref();
  if (last && ran) kill(cpu, exit_status_);
}

Result<Thread*> Process::next_thread(Cpu& cpu, u64 after) {
  LockGuard guard(cpu, lock_);
  // Threads are listed in the order in which they were made, so that of their numbers.
  Thread* t = listed_ != nullptr && listed_->id() <= after ? listed_ : threads_.front();
  for (u32 n = 0; t != nullptr && t->id() <= after; ++n) {
    listed_ = t;
    if (n == kThreadsPassed) return Status::restart;
    t = threads_.next(*t);
  }
  return t;
}

void Process::kill(Cpu& cpu, u64 status) {
  {
    LockGuard guard(cpu, lock_);
    if (!alive()) return;
    state_.store(ProcessState::exiting, kRelaxed);
    exit_status_ = status;
    // No thread of it runs from now on (I2): the fast paths look at the flags, everything else at the state, and the
    // teardown goes to every CPU that has one.
    for (Thread* t = threads_.front(); t != nullptr; t = threads_.next(*t)) t->set_flags(Thread::kExiting);
  }
  add_ref();  // the teardown's
  cpu.work.push(teardown_);
}

// The teardown goes where the threads are: each dies on its own CPU.
bool Process::exit_step(Cpu& cpu) {
  for (u32 i = 0; i < kThreadsPerStep; ++i) {
    Thread* thread = *next_thread(cpu, 0);
    if (thread == nullptr) break;
    if (thread->home() != &cpu) {
      cpu.send(*thread->home(), teardown_);
      return true;
    }
    if (thread->has_flags(Thread::kMoving)) {  // still in the mailbox: after it
      arch::relax();
      return false;
    }
    (void)thread->kill(cpu);
  }
  if (thread_count() != 0) return false;
  if (space_ && cpu.space.load(kRelaxed) == space_.get()) arch::leave_space(cpu);
  if (Cpu* other = nullptr; is_loaded_elsewhere(cpu, &other)) {
    cpu.send(*other, teardown_);
    return true;
  }
  take_page(cpu).release(cpu, *this);
  if (keep_capabilities) {
    if (space_ && !space_->teardown_step(cpu)) return false;
    cpu.machine.restart_manager(cpu, *this);
    drop_ref();
    return true;
  }
  if (!release_step(cpu)) return false;
  drop_ref();
  return true;
}

// Whether another CPU has the page tables loaded, left over from the last thread that ran there.
bool Process::is_loaded_elsewhere(Cpu& cpu, Cpu** where) const {
  if (!space_) return false;
  space_->cpus.for_each([&](u32 index) {
    Cpu* other = cpu.machine.cpus[index];
    if (other != &cpu && other->space.load(kSeqCst) == space_.get()) *where = other;
  });
  return *where != nullptr;
}

void Process::finish_exit(Cpu& cpu) {
  Binding<Port> handler;
  Binding<Notification> watcher;
  {
    LockGuard guard(cpu, lock_);
    state_.store(ProcessState::dead, kRelease);  // pairs with state()
    handler.swap(handler_);
    watcher.swap(watcher_);
  }
  on_event(cpu);
  watcher.signal(cpu);
  watcher.release(cpu);
  handler.release(cpu);
}

// It is dead: those that wait for that hear of it.
void Process::on_event(Cpu& cpu) { waiters_.wake_some(cpu, *this, kOwnEvent, is_anyone, Status::ok, exit_status_); }

void Process::unpublish(Cpu& cpu) { cpu.machine.remove_process(cpu, *this); }

bool Process::release_step(Cpu& cpu) {
  // At the end of its teardown, or, if it never ran and nobody refers to it, for what it was given.
  if (state() == ProcessState::dead) return true;
  take_page(cpu).release(cpu, *this);
  if (!caps.teardown_step(cpu)) return false;
  if (space_ && !space_->teardown_step(cpu)) return false;
  finish_exit(cpu);
  return true;
}

void Process::destroy(Cpu& cpu) { destroy_object(cpu, group(), this); }

bool Process::wait_exit(Cpu& cpu, Thread& thread, CapIndex capability, Deadline deadline) {
  LockGuard guard(cpu, waiters_.lock());
  if (state() == ProcessState::dead) return false;
  thread.begin_wait(cpu, WaitKind::exit, this, capability, deadline);
  waiters_.add(thread);
  return true;
}

Result<void> Process::watch(Cpu& cpu, const BindRequest<Notification>& target) {
  Binding<Notification> watcher;
  TRY(watcher.bind(cpu, target));
  bool dead = false;
  {
    LockGuard guard(cpu, lock_);
    dead = state() == ProcessState::dead;
    if (!dead) watcher_.swap(watcher);
  }
  if (dead) watcher.signal(cpu);
  watcher.release(cpu);  // this one, which comes too late, or the one before
  return {};
}

// Nobody can see the process any more; it runs on while it has threads.
void Process::on_zero_handles(Cpu& cpu) { waiters_.wake_some(cpu, *this, kZeroHandles, is_anyone, Status::revoked); }

void Process::wake_revoked(Cpu& cpu) { waiters_.wake_some(cpu, *this, kRevoked, is_revoked, Status::revoked); }

Process::Handler Process::handler(Cpu& cpu) {
  LockGuard guard(cpu, lock_);
  Port* port = handler_.get();
  return {port == nullptr ? nullptr : RefPtr<Port>(*port), handler_.data()};
}

Result<void> Process::set_handler(Cpu& cpu, const BindRequest<Port>& target) {
  Binding<Port> handler;
  TRY(handler.bind(cpu, target));
  bool dead = false;
  {
    LockGuard guard(cpu, lock_);
    dead = state() == ProcessState::dead;
    if (!dead) handler_.swap(handler);
  }
  handler.release(cpu);
  return dead ? Status::bad_state : Result<void>();
}

void Process::clear_handler(Cpu& cpu) {
  Binding<Port> handler;
  {
    LockGuard guard(cpu, lock_);
    handler_.swap(handler);
  }
  handler.release(cpu);
}

Result<void> Process::set_labels(Cpu& cpu, u32 uid, u32 gid) {
  LockGuard guard(cpu, lock_);
  if (state() != ProcessState::fresh) return Status::bad_state;
  uid_ = uid;
  gid_ = gid;
  return {};
}

}  // namespace keel
