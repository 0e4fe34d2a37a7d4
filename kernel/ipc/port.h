// Port: where messages are sent to and received from. It outlives its servers: calls that a dead server had taken fail,
// calls that are still queued wait for the successor, and badges go on to mean the same.
//
// Invariants   I1 a thread in receiver_ means that backlog_ is 0; it runs on the port's home.
//              I2 a queued caller's message is in its registers and message page; nobody else touches either.
//              I3 queue memory is reserved at creation: sending never allocates.
//              I4 backlog_ counts queued callers, queued messages and, as one, pending bits of the bound notification.
//                 The port's observer, if it has one, has been told whether it is 0.
//              I5 servers_ are the threads that received here last (Thread I5): while callers wait, they are busy for
//              it.
// Order        signals first, then messages and callers by level, the highest first, in the order of their arrival. A
//              message has the level that its sender ran at, a caller that of its context now.
// Locks        none: a port belongs to its home CPU, as its waiting threads do, and the notification bound to it.
// Lifetime     when the last capability with the receive right goes, queued callers are answered PeerDied. A wait does
//              not keep the port alive: when the last capability goes, all waits end.
// Costs        docs/subsystems/ipc.md has the instruction counts.
// See          docs/adr/0003-ipc.md, kernel/ipc/fast.cc (the common case again, for speed)
#pragma once

#include "kernel/cap/binding.h"
#include "kernel/core/thread.h"
#include "kernel/object/observer.h"

namespace keel {

class Notification;

class Port final : public Observable, private Observer {
 public:
  static constexpr ObjectKind kKind = ObjectKind::port;
  static constexpr u32 kMaxQueue = 64;
  static constexpr u32 kWokenAtOnce = 4;  // at its end

  // Errors: no_memory, quota_exceeded.
  static Result<RefPtr<Port>> create(Cpu& cpu, ResourceGroup& group, u32 queue_messages);

  // call: the current thread's message goes to a receiver, or the thread queues. What comes back is the reply.
  Result<void> call(Cpu& cpu, Thread& client, u64 badge, CapIndex through);
  // The current thread takes the next signal, message, call or fault, or queues for one.
  Result<void> receive(Cpu& cpu, Thread& server, CapIndex through, Deadline deadline);
  // The usual case of reply_receive: the caller waits, nothing else is there to be received. The server has replied and
  // waits again, and the caller runs. False: not that case, nothing was done. Errors: those of moving capabilities.
  Result<bool> reply_and_wait(Cpu& cpu, Thread& server, CapIndex through);
  // Asynchronous: up to eight words. Errors: would_block (the queue is full), too_big, peer_died.
  Result<void> send(Cpu& cpu, Thread& sender, u64 badge);
  // Queued messages, in their order, to the message page: badge and kRegisterWords words of each. How many, kBatch at
  // most. A caller that waits is none of them.
  static constexpr u32 kBatch = kMaxMessageWords / (kRegisterWords + 1);
  u32 receive_batch(Cpu& cpu, MessagePage& page);
  // The caller of `sender` calls here instead, with the sender's message; the sender serves it no more. Errors:
  // bad_state (it serves no call), peer_died, would_block (no receiver waits here for what does not fit into
  // registers), those of check_descriptor() and of moving capabilities.
  Result<void> forward(Cpu& cpu, Thread& sender, u64 badge);
  // One whose call was forwarded has arrived from another CPU.
  void take_forwarded(Cpu& cpu, Thread& client);
  // A thread has faulted: like a call whose message is the fault.
  void deliver_fault(Cpu& cpu, Thread& thread, u64 badge);
  // A thread of another CPU calls, or wants to receive: whether the port, and the server that waits in it, have moved
  // to the thread's CPU, because nobody else needs them here.
  bool follow_caller(Cpu& cpu, Thread& client);
  bool follow_receiver(Cpu& to);

  // Lets receivers here also take the bits of the notification, which is at home here. Errors: busy (it is bound to
  // another port or in a wait set).
  Result<void> bind(Cpu& cpu, const BindRequest<Notification>& target);
  void unbind(Cpu& cpu);

  // A thread that waits here to receive is going to run on another CPU: it is no longer the one that the fast path
  // switches to.
  void step_back(Thread& thread);
  bool has_receiver_right() const { return receive_handles_.load(kRelaxed) != 0; }
  // Threads leave their queues, for whatever reason.
  void receiver_left(Thread& thread);
  void caller_left(Cpu& cpu, Thread& thread);
  // The thread no longer serves this port.
  void dismiss(Thread& server);

  // For donation (kernel/core/donation.cc).
  bool has_callers() const { return !callers_.empty(); }
  // The level of the best caller in the queue; 0 if there is none.
  u32 best_level() const { return callers_.empty() ? 0 : callers_.first()->context->level; }
  // The best of the first few callers whose context may run at `now` and is not lent, or null.
  Thread* best_lender(Cpu& cpu, u64 now);
  // The level of a queued caller has changed.
  void reorder(Thread& caller);
  // A caller has queued or left: servers may inherit its level, or run on its context.
  void refresh_servers(Cpu& cpu);
  // With one of them free a caller waits no longer: more need not hurry.
  template <class F>
  void for_some_servers(F f) {
    Thread* server = servers_.front();
    for (u32 n = 0; n < 16 && server != nullptr; ++n, server = servers_.next(*server)) f(*server);
  }
  bool is_pending() const override { return backlog_ != 0; }
  void on_handle_added(Rights rights) override;
  void on_handle_dropped(Cpu& cpu, Rights rights) override;
  void on_event(Cpu& cpu) override;
  void on_zero_handles(Cpu& cpu) override;
  void wake_revoked(Cpu& cpu) override;

  // For the fast path (fast.cc): the receiver to hand a call to, and whether a receive has to look any further.
  Thread* receiver_ = nullptr;
  u32 backlog_ = 0;

 private:
  friend class ObjectMaker;

  struct Queued {
    u64 badge;
    Causality causality;
    u64 words[kRegisterWords];
    u32 word_count;
    u32 level;
  };
  struct ByUrgency {
    u64 operator()(const Thread& t) const { return t.urgency; }
  };

  explicit Port(ResourceGroup& group) : Observable(ObjectKind::port, group) {
    for (u32 i = 0; i < kMaxQueue; ++i) order_[i] = u8(i);
    count_rights();
  }
  void destroy(Cpu& cpu) override;
  bool fail_callers(Cpu& cpu);
  Result<void> take_caller(Cpu& cpu, Thread& client, Thread& server);

  // A thread that has begun to wait here, to send a fault or a message without capabilities: to a receiver or the
  // queue. The server runs at once if it takes over the running context.
  void submit(Cpu& cpu, Thread& client, u64 badge);
  void add_caller(Cpu& cpu, Thread& client, u64 badge);
  void add_receiver(Cpu& cpu, Thread& thread);
  // receive() but for the levels.
  Result<void> take(Cpu& cpu, Thread& server, CapIndex through, Deadline deadline);
  // The next one, which stays what it is until another is sent.
  const Queued& take_message(Cpu& cpu);
  void count(Cpu& cpu, i32 more);
  void enlist(Thread& server, CapIndex through);
  // The notification whose bits are received here, or null; lets go of one that was revoked.
  Notification* bound(Cpu& cpu);
  void leave(Cpu& cpu, Notification& notification);
  // Of the bound notification: wakes a receiver with the bits if one waits; it has, or has no more, bits that nobody
  // took.
  bool deliver_signal(Cpu& cpu, u64 bits) override;
  void set_pending(Cpu& cpu, bool pending) override;
  bool observes(Cpu& cpu) override { return bound(cpu) != nullptr; }
  // The thread that gets the next message, or null. The fast path leaves receiver_ null though more may wait.
  Thread* receiver(Cpu& cpu);
  bool is_quiet() const;
  void change_home(Cpu& to);

  WaitQueue more_receivers_;
  IntrusiveTree<Thread, &Thread::caller_hook, ByUrgency> callers_;
  IntrusiveList<Thread, &Thread::server_hook> servers_;
  u64 next_arrival_ = 0;
  Binding<Notification> bound_;
  Queued* queue_ = nullptr;
  u32 capacity_ = 0;
  u32 queued_ = 0;
  u8 order_[kMaxQueue] = {};  // places in queue_: those of messages, the next first, then the free ones
  bool signal_pending_ = false;
  Atomic<u32> receive_handles_{0};
};

// The current thread's answer to its caller, if that still waits. Errors: those of moving the message's capabilities;
// the caller waits on then.
Result<void> reply_to_caller(Cpu& cpu, Thread& server);
// The same from `sender` to a client that waits for a reply, from whomever.
Result<void> answer(Cpu& cpu, Thread& sender, Thread& client);
// Wakes those in the queue whose capability is gone, with Status::revoked.
void wake_revoked_waiters(Cpu& cpu, WaitQueue& queue);

}  // namespace keel
