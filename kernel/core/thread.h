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
//                 waiter that lends it (I8), for this one.
//              I5 it is ready or running only on run_on, and then home() == run_on. While it waits in a homed object,
//                 home() is that object's: its custodian. While kMoving is set it is in a mailbox: it can be looked
//                 at, but not moved.
//              I6 b.caller == a and b is at home  =>  a.home() == b.home(). While b is away (`away_`) the link is
//                 frozen, with a reference: when b is back it looks whether a.callee is still b.
//              I7 serves == p  <=>  it is in p's list of servers: it received there last, and runs on p's home.
//              I8 a.borrower == b  <=>  b.lender == a. Then a is queued at a port that b, busy, serves; both run there.
// Locks        none: only the custodian touches a thread; but anyone may set a bit in `flags`, and who has claimed it
//              out of a SharedQueue may fill in how it wakes. `process_hook` is guarded by the process's lock.
// Lifetime     references: its process's list, capabilities, whoever points to it across kernel entries.
// See          docs/subsystems/threads.md, docs/adr/0005-scheduling-contexts.md, docs/adr/0007-multiprocessor.md
#pragma once

#include <arch/thread.h>

#include "abi/types.h"
#include "kernel/cap/space.h"
#include "kernel/core/scheduler.h"
#include "kernel/core/timer_queue.h"
#include "kernel/object/object.h"

namespace keel {

class AddressSpace;
class MemoryObject;
class Port;
class Process;
class Reply;
class SharedQueue;
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
  set,           // in a wait set's queue
  stopped,       // suspended or in a process that is going: not ready although nothing is awaited
  travel,        // in a mailbox (kMoving is set)
  grace,         // until nobody reads any more what it has revoked
};

struct WaitRecord {
  u64 key_offset = 0;             // word: offset in the object
  KObject* object = nullptr;      // what the queue belongs to; kept alive by the capability or by a reference there
  u64 key = 0;                    // send: badge. word: object id. log: sequence number
  CapIndex capability;            // through which it waits; checked again after a revocation. Not for receive
  SharedQueue* shared = nullptr;  // word, exit, log: the queue, and whether somebody has taken it out to wake it
  Atomic<bool> claimed{false};
};

// What a thread is doing: one 32-bit store on the fast path.
struct Phase {
  ThreadStatus status = ThreadStatus::fresh;
  WaitKind wait = WaitKind::none;
  bool fault = false;      // send, reply: the message is the thread's fault record
  bool forwarded = false;  // send, reply: a server handed the call on; it cannot begin anew
};
static_assert(sizeof(Phase) == 4);

struct FaultRecord {
  FaultKind kind = FaultKind::other;
  u64 address = 0;
  u64 detail = 0;
};

// A thread's message page: pinned, and mapped in its process.
struct MessageMemory {
  RefPtr<MemoryObject> memory;
  MessagePage* page = nullptr;  // the kernel's mapping
  VirtAddr at;

  static Result<MessageMemory> create(Cpu& cpu, Process& process);
  void release(Cpu& cpu, Process& process);
};

class Thread final : public KObject, public TimerEntry {
 public:
  static constexpr ObjectKind kKind = ObjectKind::thread;
  // Flags that keep a thread off the fast paths. One word, so that two threads are tested with one OR.
  static constexpr u32 kCancel = 1;  // the wait, or the next one, ends with Cancelled
  static constexpr u32 kSuspend = 2;
  static constexpr u32 kExiting = 4;    // its process is going
  static constexpr u32 kTimed = 8;      // its wait has a deadline in a timer queue
  static constexpr u32 kFaulted = 16;   // its wait is a fault, not a call
  static constexpr u32 kMoving = 32;    // it is in a mailbox
  static constexpr u32 kMustMove = 64;  // its affinity says so, but it serves a call: when that is over

  // A thread that is not started, in `process`, with its message page mapped. Errors: no_memory, quota_exceeded,
  // bad_state (the process is going).
  static Result<RefPtr<Thread>> create(Cpu& cpu, Process& process, u32 level);

  // The entry code reads it at a fixed offset (checked in <arch/...>).
  arch::ThreadState state;

  // The IPC path touches these: one or two cache lines.
  Atomic<u32> flags{0};
  Phase phase;
  Cpu* run_on = nullptr;   // where it runs
  CapDirectory directory;  // of the process's capability space, from when it joins the process
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
  u64 affinity = ~u64{0};           // the CPUs that it may run on: bit n is CPU n modulo 64
  RefPtr<Reservation> reservation;  // whose account and level its own context has; or null
  ListHook reservation_hook;
  RefPtr<MemoryObject> unfinished;  // what memory_clone, or memory_create with `eager`, has made, between two entries

  bool has_flags(u32 any) const { return (flags.load(kRelaxed) & any) != 0; }
  void set_flags(u32 bits) { flags.fetch_or(bits, kRelaxed); }
  void clear_flags(u32 bits) { flags.fetch_and(~bits, kRelaxed); }
  // Takes the bit, if it is set.
  bool take_cancel();
  ThreadStatus status() const { return phase.status; }
  bool waits() const { return phase.status == ThreadStatus::waiting; }
  bool waits_for(WaitKind kind) const { return waits() && phase.wait == kind; }
  u64 word(u32 i) const { return state.word[i]; }
  CapIndex waits_through() const {
    return phase.wait == WaitKind::receive && serves != nullptr ? receive_capability : wait.capability;
  }
  // The port that it waits to receive from.
  Port& receiving_from() const;
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
  // Makes it ready, on the CPU that it runs on.
  void make_ready(Cpu& cpu);
  // Ready already: at the place that its level and its account have now.
  void requeue(Cpu& cpu);

  // The current thread's call ends with Ok when a grace period is over; nothing shortens that. At once when no other
  // CPU is busy.
  void wait_for_grace(Cpu& cpu);

  // --- Between CPUs
  enum class Travel : u8 {
    ready,    // it goes where it runs, and is made ready there
    call,     // its system call is carried out there
    fault,    // its fault is delivered there
    forward,  // its call, which a server forwarded, goes to the port that it waits for
    wake,     // it stays: who claimed it out of a shared queue tells its custodian
  };
  // Sends it away. It is local and in no queue; and nobody's to look at afterwards, unless it is_here().
  void depart(Cpu& from, Cpu& to, Travel what);
  // A queue gives it to the caller to wake: see SharedQueue.
  void wake_claimed(Cpu& cpu, Status status, u64 word0);
  // It waits here and runs elsewhere: its wait is cut short, its call begins anew there. False: it waits for a reply,
  // or is to get one from whom its call was forwarded to.
  bool call_home(Cpu& cpu);
  bool is_here(const Cpu& cpu) const { return home() == &cpu; }
  // It waits for the reply of a server that is on its way here, with which it came.
  bool is_carried() const { return has_flags(kMoving) && phase.wait != WaitKind::travel; }
  // Its registers, and its caller if it has one, become another CPU's. Waiting or not; in no queue of this CPU's but a
  // port's.
  void change_home(Cpu& from, Cpu& to);
  bool may_run_on(const Cpu& cpu) const;
  // Where it runs from now on: it is in no ready queue. assign() makes that CPU its custodian, too.
  void run_at(Cpu& from, Cpu& to);
  // Before that, unless the port goes along: the port that it served keeps no server of another CPU.
  void leave_port();
  void assign(Cpu& from, Cpu& to);

  void start(Cpu& cpu, u64 entry, u64 stack, u64 argument0, u64 argument1);
  void suspend(Cpu& cpu);
  void resume(Cpu& cpu);
  void cancel(Cpu& cpu);
  // Ends the thread for good: out of every queue, its caller answered PeerDied. Its process may end with it, unless the
  // thread was never started.
  // False: it has to go home first, and is on its way; try again.
  bool kill(Cpu& cpu);
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
  void stop_lending(Cpu& cpu);

  // Ends what the thread serves: the caller gets `status`, and its context.
  void fail_caller(Cpu& cpu, Status status);
  // The client stops waiting for its callee's reply: the callee, and whoever it called in turn, go on with their own
  // contexts.
  void leave_callee(Cpu& cpu);

  u64 consumed_ns(Cpu& cpu) const;
  // Time stamps that the thread has used, on its own context, since that was charged last; of a thread that runs
  // elsewhere a fair guess.
  u64 uncharged(Cpu& cpu) const;
  // Who runs on this thread's context while it waits, or null.
  Thread* deputy() const { return callee != nullptr ? callee : borrower; }

 private:
  friend class ObjectMaker;
  friend class RemoteCalls;  // kernel/ipc/fast_remote.h

  Thread(ResourceGroup& group, Process& process, u32 level);
  ~Thread() override = default;
  void expired(Cpu& cpu) override;
  void destroy(Cpu& cpu) override;
  void leave_wait(Cpu& cpu);
  void enqueue(Cpu& cpu);
  void arrived(Cpu& cpu);
  void settle(Cpu& cpu);
  void part(Cpu& from);

  class Traveller final : public Work {
   public:
    explicit Traveller(Thread& thread) : thread_(thread) {}
    bool step(Cpu&) override { return true; }
    void arrive(Cpu& cpu) override;  // fast_remote.cc

   private:
    Thread& thread_;
  };
  // At the end of the grace period that it waits for.
  class GraceOver final : public Work {
   public:
    explicit GraceOver(Thread& thread) : thread_(thread) {}
    bool step(Cpu& cpu) override;

   private:
    Thread& thread_;
  };
  Traveller traveller_{*this};
  GraceOver grace_over_{*this};
  Travel travel_ = Travel::ready;
  bool away_ = false;  // it left home with a caller
  Status wake_status_ = Status::ok;
  u64 wake_word_ = 0;

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
// Of those here that the context was passed on to: the last, who is not waiting for another. Null: nobody has it here.
Thread* runner_of(Cpu& cpu, SchedulingContext& context);
// Everyone who runs on `from`, from `first` on, goes on with `to`.
void move_contexts(Cpu& cpu, Thread* first, SchedulingContext& from, SchedulingContext& to);
}  // namespace keel
