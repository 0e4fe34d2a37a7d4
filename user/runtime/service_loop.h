// ServiceLoop: the heart of a service. One thread receives calls, queued messages and signals on one port and hands
// them to servers, handlers and waiting coroutines.
//
//   struct Echo final : EchoServer { Result<u64> echo(Session, u64 n) override { return n; } };
//   int main() {
//     Echo echo;
//     ServiceLoop loop(find_capability("serve.echo"));
//     loop.add(echo);
//     loop.run();                          // reports ready to the service manager, then serves for ever
//   }
//
// Signals      come on one notification: the capability `events`, whose low 32 bits belong to the service manager (bit
// i:
//              the i-th entry of `uses` was restarted), or one of its own. allocate_bit() gives out bits from 63 down.
// Coroutines   wait for an Event, a signal or a time. They resume between two messages, never inside a handler, after
//              the reply to the first went out: so they may call the service that waited for it. Their calls have the
//              trace id of the request that they began with.
// Locks        none: everything runs on the loop's thread.
// Costs        a message: one system call, no allocation. A deferred answer: two more, and a coroutine frame.
#pragma once

#include <array>
#include <coroutine>
#include <functional>
#include <vector>

#include "base/intrusive_list.h"
#include "user/runtime/clock.h"
#include "user/runtime/server.h"
#include "user/runtime/stubs.h"

namespace keel {

class ServiceLoop;

namespace loop_detail {
// A coroutine that waits; lives in its frame.
struct Waiter {
  ListHook queue_hook;  // in an Event's waiters or the loop's ready list
  ListHook timer_hook;
  std::coroutine_handle<> handle;
  Deadline deadline = kForever;
  bool notified = false;
  sys::TraceContextResult causality;  // what it works for: its thread does others' work meanwhile
};
using WaitQueue = IntrusiveList<Waiter, &Waiter::queue_hook>;
}  // namespace loop_detail

// What coroutines of one loop wait for. Remembers nothing: wait in a loop that checks the condition.
//   while (queue.empty()) { if (!co_await changed.wait(deadline)) co_return Status::timed_out; }
class Event {
 public:
  explicit Event(ServiceLoop& loop) : loop_(loop) {}

  // Wakes all that wait now, in their order.
  void notify();

  class Wait {
   public:
    Wait(Event& event, Deadline deadline) : event_(event) { waiter_.deadline = deadline; }
    bool await_ready() const { return waiter_.deadline == kPoll; }
    void await_suspend(std::coroutine_handle<> handle);
    // False: the deadline passed.
    bool await_resume() const { return waiter_.notified; }

   private:
    Event& event_;
    loop_detail::Waiter waiter_;
  };
  Wait wait(Deadline deadline = kForever) { return Wait(*this, deadline); }

 private:
  friend class ServiceLoop;
  ServiceLoop& loop_;
  loop_detail::WaitQueue waiters_;
};

class ServiceLoop final : private ReplyPool {
 public:
  using Handler = std::function<void()>;
  static constexpr u32 kManagerBits = 32;
  static constexpr usize kMaxDeferred = 64;

  // Failures to set up are fatal: a service without its port has nothing to do.
  explicit ServiceLoop(CapIndex port);
  ServiceLoop(const ServiceLoop&) = delete;
  ServiceLoop& operator=(const ServiceLoop&) = delete;

  // Requests for the server's interface go to it. It must outlive the loop.
  void add(Server& server);

  CapIndex port() const { return port_; }
  // Whom to let interrupts, timers and other processes signal.
  CapIndex notification() const { return notification_; }
  u32 allocate_bit() { return --next_bit_; }
  static constexpr u64 mask(u32 bit) { return u64{1} << bit; }
  // Calls the handler whenever the bit comes. One handler per bit.
  void on_signal(u32 bit, Handler handler) { handlers_[bit] = std::move(handler); }
  // Calls the handler when the service behind the i-th entry of `uses` was restarted.
  void on_restart(u32 use, Handler handler) { on_signal(use, std::move(handler)); }

  // co_await loop.sleep_until(deadline)
  Event::Wait sleep_until(Deadline deadline) { return never_.wait(deadline); }

  // Tells the service manager that we serve, starts the heartbeat if it wants one, and serves.
  [[noreturn]] void run();
  // Serves one message, or returns when the next deadline passed. For loops of one's own and tests.
  Status run_once();

 private:
  friend class Event;
  friend class Event::Wait;
  using TimerList = IntrusiveList<loop_detail::Waiter, &loop_detail::Waiter::timer_hook>;

  Result<CapIndex> take_reply() override;
  void send_reply(CapIndex reply, const Message& message) override;

  void handle(const Message& received);
  void handle_signals(u64 bits);
  void add_timer(loop_detail::Waiter& waiter);
  void make_ready(loop_detail::Waiter& waiter, bool notified);
  void expire();
  void run_ready();
  void follow(const sys::TraceContextResult& causality);
  void reply_first();
  Task<void> heartbeat(CapIndex manager, u64 period_ns);

  CapIndex port_;
  CapIndex notification_ = kNoCapability;
  u32 next_bit_ = 64;
  Server* servers_ = nullptr;
  std::array<Handler, 64> handlers_;
  Event never_{*this};
  TimerList timers_;  // by deadline
  loop_detail::WaitQueue ready_;
  std::vector<CapIndex> free_replies_;
  usize replies_ = 0;
  Message reply_;  // to be sent with the next receive, if replying_
  bool replying_ = false;
  sys::TraceContextResult followed_;  // the ids of the thread's own context
};

// Gives up what a reply moved, in case the receiver was gone. Right after the message was sent; `given` from before.
void delete_moved(const Message& sent, const u64 (&given)[kMaxMessageCaps]);

}  // namespace keel
