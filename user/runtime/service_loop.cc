#include "user/runtime/service_loop.h"

#include <algorithm>
#include <charconv>

#include "base/fixed.h"
#include "idl/manager.h"
#include "user/runtime/print.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"

namespace keel {
namespace {

constexpr u64 kExitPortLost = 254;

}  // namespace

void delete_moved(const Message& sent, const u64 (&given)[kMaxMessageCaps]) {
  for (u32 i = 0; i < sent.cap_count; ++i) {
    if ((sent.moves & 1u << i) != 0) delete_quietly(CapIndex(given[i]));  // stale, and harmless, if it was moved
  }
}

void Event::notify() {
  while (loop_detail::Waiter* waiter = waiters_.front()) {
    waiters_.remove(*waiter);
    loop_.make_ready(*waiter, true);
  }
}

void Event::Wait::await_suspend(std::coroutine_handle<> handle) {
  waiter_.handle = handle;
  waiter_.causality = sys::trace_context(0, 0, 0).value_or(sys::TraceContextResult());
  event_.waiters_.push_back(waiter_);
  event_.loop_.add_timer(waiter_);
}

ServiceLoop::ServiceLoop(CapIndex port) : port_(port), notification_(find_capability("events")) {
  if (port == kNoCapability) fatal("no port to serve");
  if (notification_ == kNoCapability) {
    const Result<CapIndex> made = sys::notification_create(self().group);
    if (!made.has_value()) fatal("no notification for the service loop");
    notification_ = *made;
  }
  if (Result<void> bound = sys::port_bind(port_, notification_); !bound.has_value()) {
    FixedString<80> why("cannot bind the notification to the port: ");
    why.append(status_name(bound.status()));
    fatal(why.view());
  }
}

void ServiceLoop::add(Server& server) {
  server.next_ = servers_;
  servers_ = &server;
}

void ServiceLoop::run() {
  const CapIndex manager = find_capability("manager");
  if (manager != kNoCapability) {
    const Result<void> told = ManagerClient(manager).ready();
    if (!told.has_value()) log_warning("ready: {}", told.error());
    const std::string_view text = argument_value("heartbeat");
    u64 period = 0;
    std::from_chars(text.data(), text.data() + text.size(), period);
    if (period != 0) start(heartbeat(manager, period));
  }
  for (;;) {
    const Status status = run_once();
    if (status == Status::ok || status == Status::timed_out || status == Status::cancelled) continue;
    log_error("receive: {}", status);
    exit_process(kExitPortLost);
  }
}

Task<void> ServiceLoop::heartbeat(CapIndex manager, u64 period_ns) {
  for (;;) {
    // Twice per period, so that one late beat is no alarm. A full queue means that the manager has other worries.
    static_cast<void>(ManagerClient(manager).heartbeat());
    co_await sleep_until(after(period_ns / 2));
  }
}

Status ServiceLoop::run_once() {
  expire();
  if (replying_ && !ready_.empty()) reply_first();
  if (!replying_) run_ready();
  Message message;
  u64 given[kMaxMessageCaps] = {};
  const bool replied = replying_;
  if (replied) {
    message = reply_;
    std::copy_n(message_page().capabilities, reply_.cap_count, given);
  }
  message.deadline = !ready_.empty() ? kPoll : timers_.empty() ? kForever : timers_.front()->deadline;
  replying_ = false;
  const Status status = replied ? ipc::reply_receive(port_, message) : ipc::receive(port_, message);
  if (replied) delete_moved(reply_, given);
  if (status == Status::ok) handle(message);
  return status;
}

// Coroutines may call other services, even the one that waits for this reply: it goes out before they run. Without a
// Reply object for that they wait for the next round.
void ServiceLoop::reply_first() {
  const Result<CapIndex> reply = take_reply();
  if (!reply.has_value()) return;
  send_reply(*reply, reply_);
  replying_ = false;
}

void ServiceLoop::handle(const Message& received) {
  switch (received.kind) {
    case MessageKind::signal:
      return handle_signals(received.words[0]);
    case MessageKind::fault:  // nobody asked us to mend it
      reply_ = Message{.words = {static_cast<u64>(FaultAnswer::kill)}, .word_count = 1};
      replying_ = true;
      return;
    case MessageKind::call:
    case MessageKind::send:
      break;
  }
  Request request(received, this);
  Server* server = servers_;
  while (server != nullptr && server->interface() != request.interface()) server = server->next_;
  if (server == nullptr || received.word_count == 0) {
    request.refuse(Status::not_supported);
  } else {
    server->dispatch(request);
  }
  if (request.deferred()) return;
  if (request.wants_reply()) {
    reply_ = request.reply();
    replying_ = true;
  } else {
    delete_moved(request.reply(), message_page().capabilities);
  }
}

void ServiceLoop::handle_signals(u64 bits) {
  for (u32 bit = 0; bits != 0; ++bit, bits >>= 1) {
    if ((bits & 1) != 0 && handlers_[bit]) handlers_[bit]();
  }
}

Result<CapIndex> ServiceLoop::take_reply() {
  if (free_replies_.empty()) {
    if (replies_ == kMaxDeferred) return Status::busy;
    free_replies_.push_back(TRY(sys::reply_create(self().group)));
    ++replies_;
  }
  const CapIndex reply = free_replies_.back();
  TRY(sys::reply_take(reply));
  free_replies_.pop_back();
  return reply;
}

void ServiceLoop::send_reply(CapIndex reply, const Message& message) {
  static_cast<void>(ipc::reply_send(reply, message));  // Cancelled: the caller gave up, which is its right
  delete_moved(message, message_page().capabilities);
  free_replies_.push_back(reply);
}

void ServiceLoop::add_timer(loop_detail::Waiter& waiter) {
  if (waiter.deadline == kForever) return;
  loop_detail::Waiter* later = timers_.front();
  while (later != nullptr && later->deadline <= waiter.deadline) later = timers_.next(*later);
  if (later != nullptr) {
    timers_.insert_before(*later, waiter);
  } else {
    timers_.push_back(waiter);
  }
}

// The waiter is in no event's list any more.
void ServiceLoop::make_ready(loop_detail::Waiter& waiter, bool notified) {
  if (waiter.timer_hook.linked()) timers_.remove(waiter);
  waiter.notified = notified;
  ready_.push_back(waiter);
}

void ServiceLoop::expire() {
  if (timers_.empty()) return;
  const u64 now = now_ns();
  while (loop_detail::Waiter* first = timers_.front()) {
    if (first->deadline.value > now) return;
    first->queue_hook.unlink();
    make_ready(*first, false);
  }
}

void ServiceLoop::run_ready() {
  while (loop_detail::Waiter* waiter = ready_.pop_front()) {
    follow(waiter->causality);
    waiter->handle.resume();
  }
  follow({});
}

void ServiceLoop::follow(const sys::TraceContextResult& causality) {
  if (causality.trace == followed_.trace && causality.span == followed_.span) return;
  followed_ = causality;
  static_cast<void>(sys::trace_context(causality.trace, causality.span, sys::trace_context_flags::SET));
}

}  // namespace keel
