// Process: an address space, a capability space, and the threads that share them.
//
// Invariants   I1 threads_ holds one reference to each of its threads that is not dead.
//              I2 state only moves forward: fresh, running, exiting, dead; but restart_manager (manager.cc) makes the
//                 service manager fresh again once it is torn down. While exiting or dead no thread of it runs.
//              I3 dead: no threads, no capabilities, no regions; everything was given back.
// Locks        lock_ (rank process) guards threads_, the fault handler, the watcher and changes of state.
// Lifetime     capabilities and threads hold references. While exiting, the work queue does.
// Costs        kill marks every thread, about 6 instructions each; the rest of the exit goes in bounded steps on the
// work
//              queue (law 3).
// See          docs/subsystems/processes.md
#pragma once

#include "base/intrusive_tree.h"
#include "kernel/cap/binding.h"
#include "kernel/cap/space.h"
#include "kernel/core/shared_queue.h"

namespace keel {

class Notification;

enum class ProcessState : u8 { fresh, running, exiting, dead };

struct ProcessName {
  char text[24] = {};
};

class Process final : public KObject {
 public:
  static constexpr ObjectKind kKind = ObjectKind::process;
  // Errors: no_memory, quota_exceeded.
  static Result<RefPtr<Process>> create(Cpu& cpu, ResourceGroup& group, const ProcessName& name);

  CapSpace caps;

  const ProcessName& name() const { return name_; }
  ProcessState state() const { return state_.load(kAcquire); }  // pairs with finish_exit()
  AddressSpace* space() const { return space_.get(); }
  bool alive() const { return state_.load(kRelaxed) <= ProcessState::running; }
  u64 exit_status() const { return exit_status_; }
  u32 thread_count() const { return thread_count_.load(kRelaxed); }
  u64 consumed() const { return consumed_.load(kRelaxed); }
  void add_consumed(u64 tsc) { consumed_.fetch_add(tsc, kRelaxed); }

  // Starts the end: threads stop now, the rest goes in steps. Does nothing when it has begun already.
  void kill(Cpu& cpu, u64 status);
  // A thread joins; bad_state when the process is going.
  Result<void> add_thread(Cpu& cpu, Thread& thread);
  // `caps` has another directory from now on: gives it to all threads.
  void use_directory(Cpu& cpu, const CapDirectory& directory);
  // A thread has died. The last one takes the process with it, if it ever ran.
  void remove_thread(Cpu& cpu, Thread& thread, bool ran);
  // The first thread whose number is above `after`, or null; a borrow. Errors: restart (some were passed; none are for
  // 0).
  Result<Thread*> next_thread(Cpu& cpu, u64 after);
  // Calls f(thread) for up to `most` threads, under the process's lock.
  template <class F>
  void for_each_thread(Cpu& cpu, u32 most, F f) {
    LockGuard guard(cpu, lock_);
    for (Thread* t = threads_.front(); t != nullptr && most > 0; t = threads_.next(*t), --most) f(*t);
  }

  // The message page that a thread had is kept for the next one, if none is kept yet and the process is not going. It
  // is as that thread left it.
  void keep_page(Cpu& cpu, MessageMemory& page);
  MessageMemory take_page(Cpu& cpu);

  // Queues the thread until the process is dead. False: it is.
  bool wait_exit(Cpu& cpu, Thread& thread, CapIndex capability, Deadline deadline);
  // Signals when the process is dead, at once if it is. Errors: no_memory, quota_exceeded, revoked, too_deep.
  Result<void> watch(Cpu& cpu, const BindRequest<Notification>& target);
  void wake_revoked(Cpu& cpu) override;
  void on_zero_handles(Cpu& cpu) override;
  void on_event(Cpu& cpu) override;

  // Where its faults are reported; the port may be null.
  struct Handler {
    RefPtr<Port> port;
    u64 badge = 0;
  };
  Handler handler(Cpu& cpu);
  // Errors: bad_state (it is dead), no_memory, quota_exceeded, revoked, too_deep.
  Result<void> set_handler(Cpu& cpu, const BindRequest<Port>& target);
  void clear_handler(Cpu& cpu);

  static constexpr u32 kNoLabel = ~u32{0};
  // Labels: for services to ask, nothing to the kernel. Errors: bad_state (it has had a thread).
  Result<void> set_labels(Cpu& cpu, u32 uid, u32 gid);
  u32 uid() const { return uid_; }
  u32 gid() const { return gid_; }

  u64 faults() const { return faults_.load(kRelaxed); }
  void count_fault() { faults_.fetch_add(1, kRelaxed); }

  u32 top_level = kLevels - 1;
  bool keep_capabilities = false;  // the service manager: its successor gets them (machine.h)

  struct ById {
    u64 operator()(const Process& p) const { return p.id(); }
  };
  TreeHook list_hook;  // Machine's list

 private:
  friend class Thread;
  friend class Machine;
  friend class ObjectMaker;

  // The steps of going, as a piece of work apart from freeing the object.
  class Teardown final : public Work {
   public:
    explicit Teardown(Process& process) : process_(process) {}
    bool step(Cpu& cpu) override { return process_.exit_step(cpu); }

   private:
    Process& process_;
  };

  Process(ResourceGroup& group, const ProcessName& name);
  ~Process() override = default;
  bool exit_step(Cpu& cpu);
  void finish_exit(Cpu& cpu);
  bool is_loaded_elsewhere(Cpu& cpu, Cpu** where) const;
  void unpublish(Cpu& cpu) override;
  bool release_step(Cpu& cpu) override;
  void destroy(Cpu& cpu) override;

  SpinLock lock_{LockRank::process, "process"};
  IntrusiveList<Thread, &Thread::process_hook> threads_ GUARDED_BY(lock_);
  Thread* listed_ GUARDED_BY(lock_) = nullptr;  // as far as next_thread() came last; is in threads_
  SharedQueue waiters_{"process exit"};
  Atomic<u32> thread_count_{0};
  Atomic<u64> consumed_{0};
  Atomic<ProcessState> state_{ProcessState::fresh};
  u64 exit_status_ = 0;
  RefPtr<AddressSpace> space_;
  MessageMemory spare_page_ GUARDED_BY(lock_);
  Atomic<u64> faults_{0};
  Binding<Port> handler_ GUARDED_BY(lock_);
  Binding<Notification> watcher_ GUARDED_BY(lock_);
  u32 uid_ = kNoLabel;  // as long as it is fresh guarded by lock_, constant afterwards
  u32 gid_ = kNoLabel;
  ProcessName name_;
  Teardown teardown_{*this};
};

}  // namespace keel
