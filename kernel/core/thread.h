// Thread: one flow of control of a process. While it waits it is its saved registers plus the wait record embedded here
// (law 3): waiting never allocates.
//
// Calls link threads: client.callee is the server that took its call, server.caller is the client that it will reply to
// (its implicit current caller); reply_take moves the client into a Reply object (client.reply_object). While a server
// has a caller it runs on the caller's scheduling context (donation).
//
// Invariants   I1 status ready: in its CPU's scheduler. running: it is cpu.current. All others: in neither.
//              I2 phase.wait != none exactly while the status is waiting. wait_queue is linked exactly for those kinds
//              of wait
//                 that have a queue (all but reply).
//              I3 a.callee == b  <=>  b.caller == a. Then a waits for reply.
//              I4 context is &own_context or the context of a thread that waits, through calls or as a port's best
//                 waiter that lends it (I6), for this one.
//              I5 serves == p  <=>  it is in p's list of servers: it received there last.
//              I6 a.borrower == b  <=>  b.lender == a. Then a is queued at a port that b, busy, serves.
// Locks        a thread belongs to its CPU: only code that runs there touches it. One CPU runs today; with more, the
//              others will have to ask that CPU. `process_hook` is guarded by the process's lock.
// Lifetime     references: its process's list, capabilities, whoever points to it across kernel entries.
// See          docs/subsystems/threads.md, docs/adr/0005-scheduling-contexts.md
#pragma once

#include <arch/thread.h>

#include "abi/types.h"
#include "kernel/core/scheduler.h"
#include "kernel/core/timer_queue.h"
#include "kernel/object/object.h"

namespace keel {

struct CapSlot;
class AddressSpace;
class MemoryObject;
class Port;
class Process;
class Reply;
class Reservation;

enum class ThreadStatus : u8 { fresh, ready, running, waiting, dead };

enum class WaitKind : u8 {
  none,
  send,          // in a port's queue of callers; the message is in the registers and the message page
  reply,         // a server, or a Reply object, has the call
  receive,       // in a port's queue of receivers
  notification,  // in a notification's queue
  word,          // in a word bucket
  exit,          // in a process's queue
  log,           // in the log's queue
  stopped,       // suspended or in a process that is going: not ready although nothing is awaited
};

struct WaitRecord {
  u64 key_offset = 0;         // word: offset in the object
  KObject* object = nullptr;  // what the queue belongs to; kept alive by the capability or by a reference there
  u64 key = 0;                // send: badge. word: object id. log: sequence number
  CapIndex capability;        // through which it waits; checked again after a revocation. Not for receive
};

// What a thread is doing: one 32-bit store on the fast path.
struct Phase {
  ThreadStatus status = ThreadStatus::fresh;
  WaitKind wait = WaitKind::none;
  bool fault = false;  // send, reply: the message is the thread's fault record
  u8 reserved = 0;
};
static_assert(sizeof(Phase) == 4);

struct FaultRecord {
  FaultKind kind = FaultKind::other;
  u64 address = 0;
  u64 detail = 0;
};

class Thread final : public KObject, public TimerEntry {
 public:
  static constexpr ObjectKind kKind = ObjectKind::thread;
  // Flags that keep a thread off the fast paths. One word, so that two threads are tested with one OR.
  static constexpr u32 kCancel = 1;  // the wait, or the next one, ends with Cancelled
  static constexpr u32 kSuspend = 2;
  static constexpr u32 kExiting = 4;   // its process is going
  static constexpr u32 kTimed = 8;     // its wait has a deadline in a timer queue
  static constexpr u32 kFaulted = 16;  // its wait is a fault, not a call

  // A thread that is not started, in `process`, with its message page mapped. Errors: no_memory, quota_exceeded,
  // bad_state (the process is going).
  static Result<RefPtr<Thread>> create(Cpu& cpu, Process& process, u32 level);

  // The entry code reads it at a fixed offset (checked in <arch/...>).
  arch::ThreadState state;

  // The IPC path touches these: one or two cache lines.
  u32 flags = 0;
  Phase phase;
  Cpu* cpu = nullptr;
  CapSlot* const* directory = nullptr;  // of the process's capability space
  SchedulingContext* context = &own_context;
  AddressSpace* space = nullptr;
  Process* process = nullptr;
  MessagePage* message_page = nullptr;  // the kernel's mapping
  Thread* caller = nullptr;
  Thread* callee = nullptr;
  Reply* reply_object = nullptr;
  WaitRecord wait;
  ListHook wait_queue;

  // As a server: the port where it received last, and through what. The fast path looks whether it receives there
  // again.
  CapIndex receive_capability;
  Port* serves = nullptr;
  ListHook server_hook;
  // As a caller in a port's queue: its place.
  TreeHook caller_hook;
  u64 urgency = 0;
  // A server whose context has no budget left runs on that of the best waiter at its port.
  Thread* lender = nullptr;
  Thread* borrower = nullptr;

  ReadyLink ready_link;
  SchedulingContext own_context;
  FaultRecord fault;
  u64 switches = 0;
  u64 quantum_left_ns = 0;  // when something more urgent took the CPU: what it goes on with; 0: a whole quantum
  VirtAddr message_page_user;
  ListHook process_hook;
  RefPtr<Reservation> reservation;  // whose account and level its own context has; or null
  ListHook reservation_hook;

  ThreadStatus status() const { return phase.status; }
  bool waits() const { return phase.status == ThreadStatus::waiting; }
  bool waits_for(WaitKind kind) const { return waits() && phase.wait == kind; }
  u64 word(u32 i) const { return state.word[i]; }
  CapIndex waits_through() const { return phase.wait == WaitKind::receive ? receive_capability : wait.capability; }
  // Serves a port and is not waiting for work: whoever queues there waits for it.
  bool is_busy_server() const { return serves != nullptr && !waits_for(WaitKind::receive); }

  // The current thread starts to wait; what it waits in (queue) is linked by the caller. With a finite deadline the
  // wait ends with timed_out. Not for a deadline of 0: the caller answers would_block or timed_out itself.
  void begin_wait(Cpu& cpu, WaitKind kind, KObject* object, CapIndex capability, Deadline deadline);
  // Ends the wait with a status and one result word and makes the thread ready.
  void end_wait(Cpu& cpu, Status status, u64 word0 = 0);
  // The same without touching its registers: the message is there already.
  void end_wait_with_message(Cpu& cpu);
  // The same for one that takes over the running context, be it lent or handed back: it runs at once in place of the
  // current thread, which has just begun to wait, unless something of a higher level became ready.
  void end_wait_with_handoff(Cpu& cpu);
  // Takes it out of whatever it waits in, undoing donation; the wait ends with `status`, unless it is none.
  void abort_wait(Cpu& cpu, Status status);
  void make_ready(Cpu& cpu);

  void start(Cpu& cpu, u64 entry, u64 stack, u64 argument0, u64 argument1);
  void suspend(Cpu& cpu);
  void resume(Cpu& cpu);
  void cancel(Cpu& cpu);
  // Ends the thread for good: out of every queue, its caller answered PeerDied. Its process may end with it, unless the
  // thread was never started.
  void kill(Cpu& cpu);
  void on_zero_handles(Cpu& cpu) override;
  // The level of its own context.
  void set_level(Cpu& cpu, u32 level);
  // From now on its own context draws on the reservation; null: on its group alone. It stays ready, running or waiting.
  void set_reservation(Cpu& cpu, Reservation* reservation, u32 level);

  // Donation beyond a call (donation.cc).
  // Ready and in no queue, on a context without budget at `now`: goes on with that of the best waiter at a port that
  // it, or who waits for it, serves, and is queued. False: nobody can lend.
  bool borrow_context(Cpu& cpu, u64 now);
  // The thread leaves the queue in which it lent its context.
  void stop_lending();

  // Ends what the thread serves: the caller gets `status`, and its context.
  void fail_caller(Cpu& cpu, Status status);
  // The client stops waiting for its callee's reply: the callee, and whoever it called in turn, go on with their own
  // contexts.
  void leave_callee();

  u64 consumed_ns() const;
  // Who runs on this thread's context while it waits, or null.
  Thread* deputy() const { return callee != nullptr ? callee : borrower; }

 private:
  template <class T, class... A>
  friend Result<T*> make(Cpu&, ResourceGroup&, A&&...);
  template <class T>
  friend void destroy_object(Cpu&, ResourceGroup&, T*);

  Thread(ResourceGroup& group, Process& process, u32 level);
  ~Thread() override = default;
  void expired(Cpu& cpu) override;
  void destroy(Cpu& cpu) override;
  void leave_wait(Cpu& cpu);

  RefPtr<MemoryObject> message_memory_;
};

}  // namespace keel

namespace keel {
using WaitQueue = IntrusiveList<Thread, &Thread::wait_queue>;

// The level at which whoever runs on the context runs is made right: its own, or that of the best waiter at a port that
// one of those serves. If it changes, and they wait for others in turn, so do the levels of these, kMaxInheritance hops
// far.
inline constexpr u32 kMaxInheritance = 8;
void refresh_level(Cpu& cpu, SchedulingContext& context);
// Everyone who runs on `from`, from `first` on, goes on with `to`.
void move_contexts(Thread* first, SchedulingContext& from, SchedulingContext& to);
}  // namespace keel
