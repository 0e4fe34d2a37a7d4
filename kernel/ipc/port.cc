#include "kernel/ipc/port.h"

#include <string.h>

#include <utility>

#include "kernel/core/cpu.h"
#include "kernel/core/process.h"
#include "kernel/group/group.h"
#include "kernel/ipc/message.h"
#include "kernel/mm/heap.h"
#include "kernel/object/notification.h"

namespace keel {

Result<RefPtr<Port>> Port::create(Cpu& cpu, ResourceGroup& group, u32 queue_messages) {
  auto port = RefPtr<Port>::adopt(TRY(make<Port>(cpu, group, group)));
  if (queue_messages == 0) return port;
  const usize bytes = queue_messages * sizeof(Queued);
  TRY(group.charge(Resource::queue_bytes, bytes));
  port->capacity_ = queue_messages;  // from here on destroy() gives the charge back
  port->queue_ = static_cast<Queued*>(TRY(heap_of(cpu).allocate(cpu, group, bytes)));
  return port;
}

void Port::destroy(Cpu& cpu) {
  unbind(cpu);
  while (Thread* server = servers_.front()) dismiss(*server);
  if (queue_ != nullptr) heap_of(cpu).free(cpu, group(), queue_, capacity_ * sizeof(Queued));
  group().uncharge(Resource::queue_bytes, capacity_ * sizeof(Queued));
  destroy_object(cpu, group(), this);
}

// Makes `server` serve `client`, whose message it has just got, on the client's scheduling context if both run here.
static void join(Cpu& cpu, Thread& client, Thread& server) {
  client.phase.wait = WaitKind::reply;
  client.callee = &server;
  server.caller = &client;
  if (client.run_on != &cpu || server.run_on != &cpu) {  // a context does not cross CPUs; its level does
    if (server.own_context.level < client.context->level) server.own_context.set_level(client.context->level);
    server.own_context.causality = client.context->causality;
    return;
  }
  if (cpu.current == &server) {
    server.context = client.context;
    cpu.change_context(server.context);
  } else {
    server.context = client.context;
  }
}

static Result<void> hand_over(Cpu& cpu, Thread& client, Thread& server, u64 badge) {
  if (client.phase.fault) {
    const FaultRecord& f = client.fault;
    const u64 words[] = {u64(f.kind), f.address,           f.detail, client.state.rip, client.state.rsp,
                         client.id(), client.process->id()};
    deliver_words(server, words, 7, badge, MessageKind::fault);
    return {};
  }
  return transfer_message(cpu, client, server, badge, MessageKind::call);
}

Result<void> Port::call(Cpu& cpu, Thread& client, u64 badge, CapIndex through) {
  Descriptor d{client.state.rax};
  TRY(check_descriptor(d));
  if (!has_receiver_right()) return Status::peer_died;
  if (client.take_cancel()) return Status::cancelled;
  Deadline deadline = d.has_deadline() ? Deadline(client.message_page->deadline) : kForever;
  if (deadline == kPoll) return Status::timed_out;
  Thread* server = receiver(cpu);
  if (server != nullptr) TRY(transfer_message(cpu, client, *server, badge, MessageKind::call));
  client.begin_wait(cpu, WaitKind::send, this, through, deadline);
  if (server == nullptr) {
    add_caller(cpu, client, badge);
    return {};
  }
  join(cpu, client, *server);
  server->end_wait_with_handoff(cpu);
  return {};
}

void Port::deliver_fault(Cpu& cpu, Thread& thread, u64 badge) {
  thread.begin_wait(cpu, WaitKind::send, this, kNoCapability, kForever);
  thread.phase.fault = true;
  thread.set_flags(Thread::kFaulted);
  submit(cpu, thread, badge);
}

void Port::submit(Cpu& cpu, Thread& client, u64 badge) {
  Thread* server = receiver(cpu);
  if (server == nullptr) return add_caller(cpu, client, badge);
  (void)hand_over(cpu, client, *server, badge);  // cannot fail without capabilities
  join(cpu, client, *server);
  server->end_wait_with_handoff(cpu);
}

Result<void> Port::forward(Cpu& cpu, Thread& sender, u64 badge) {
  const Descriptor d{sender.state.rax};
  TRY(check_descriptor(d));
  if (d.has_deadline()) return Status::invalid_argument;  // the call has its own
  Thread* client = sender.caller;
  if (client == nullptr || client->phase.fault) return Status::bad_state;
  if (!has_receiver_right()) return Status::peer_died;
  Thread* server = is_local(cpu) ? receiver(cpu) : nullptr;
  if (server != nullptr) {
    TRY(transfer_message(cpu, sender, *server, badge, MessageKind::call));
  } else if (d.words() > kRegisterWords || d.capabilities() > 0) {
    return Status::would_block;  // it would have to lie where the caller can get at it
  } else {
    client->state.rax = Descriptor::make(d.words());
    for (u32 i = 0; i < kRegisterWords; ++i) client->state.word[i] = sender.word(i);
  }
  client->leave_callee(cpu);
  client->phase = {ThreadStatus::waiting, WaitKind::send, false, true};
  client->wait.object = this;
  client->wait.capability = kNoCapability;  // it has none for this port
  client->wait.key = badge;
  if (server != nullptr) {
    join(cpu, *client, *server);
    server->end_wait_with_message(cpu);
  } else if (is_local(cpu)) {
    add_caller(cpu, *client, badge);
  } else {
    add_ref();  // dropped in take_forwarded()
    client->depart(cpu, *home(), Thread::Travel::forward);
  }
  return {};
}

void Port::take_forwarded(Cpu& cpu, Thread& client) {
  if (!is_local(cpu)) return client.depart(cpu, *home(), Thread::Travel::forward);  // it has moved on
  client.phase.wait = WaitKind::send;
  if (!has_receiver_right() || client.take_cancel()) {
    client.end_wait(cpu, has_receiver_right() ? Status::cancelled : Status::peer_died);
  } else {
    submit(cpu, client, client.wait.key);
  }
  drop_ref();
}

// Smaller is served first.
static u64 urgency_of(const Thread& caller, u64 arrival) {
  constexpr u32 kArrivalBits = 56;
  return u64{kLevels - 1 - caller.context->level} << kArrivalBits | (arrival & ((u64{1} << kArrivalBits) - 1));
}

void Port::add_caller(Cpu& cpu, Thread& client, u64 badge) {
  client.wait.key = badge;
  client.urgency = urgency_of(client, next_arrival_++);
  callers_.insert(client);
  count(cpu, 1);
  refresh_servers(cpu);
}

void Port::reorder(Thread& caller) {
  callers_.erase(caller);
  caller.urgency = urgency_of(caller, caller.urgency);
  callers_.insert(caller);
}

Thread* Port::best_lender(Cpu& cpu, u64 now) {
  Thread* caller = callers_.first();
  for (u32 n = 0; n < 8 && caller != nullptr; ++n, caller = callers_.next(*caller)) {
    if (caller->run_on == &cpu && caller->borrower == nullptr &&
        caller->context->account->exhausted(cpu, now) == nullptr)
      return caller;
  }
  return nullptr;
}

void Port::enlist(Thread& server, CapIndex through) {
  if (server.serves == this) {
    server.receive_capability = through;
    return;
  }
  if (server.run_on != home()) return;  // it is not of here: nobody lends it anything
  if (server.serves != nullptr) server.serves->dismiss(server);
  server.receive_capability = through;
  server.serves = this;
  servers_.push_back(server);
}

void Port::dismiss(Thread& server) {
  servers_.remove(server);
  server.serves = nullptr;
  if (server.waits_for(WaitKind::receive)) {  // it goes on waiting here
    server.wait.object = this;
    server.wait.capability = server.receive_capability;
  }
  server.receive_capability = kNoCapability;
}

Result<void> Port::take_caller(Cpu& cpu, Thread& client, Thread& server) {
  Result<void> transferred = hand_over(cpu, client, server, client.wait.key);
  if (!transferred.has_value()) {
    client.abort_wait(cpu, transferred.status());
    return transferred;
  }
  caller_left(cpu, client);
  join(cpu, client, server);
  return {};
}

// What is here to be received has become more, or less: one message at a time.
void Port::count(Cpu& cpu, i32 more) {
  backlog_ += u32(more);
  if (observer_ != nullptr && (more > 0 || backlog_ == 0)) observer_->set_pending(cpu, more > 0);
}

const Port::Queued& Port::take_message(Cpu& cpu) {
  const u8 place = order_[0];
  --queued_;
  memmove(&order_[0], &order_[1], queued_);
  order_[queued_] = place;
  count(cpu, -1);
  return queue_[place];
}

u32 Port::receive_batch(Cpu& cpu, MessagePage& page) {
  u32 n = 0;
  for (u64* to = page.words; n < kBatch && queued_ > 0; ++n) {
    const Queued& message = take_message(cpu);
    *to++ = message.badge;
    for (u32 i = 0; i < kRegisterWords; ++i) *to++ = i < message.word_count ? message.words[i] : 0;
  }
  return n;
}

Result<void> Port::receive(Cpu& cpu, Thread& server, CapIndex through, Deadline deadline) {
  if (server.lender != nullptr) server.lender->stop_lending(cpu);  // it is done with what it borrowed for
  enlist(server, through);
  server.own_context.causality = {};  // what it did is over
  Result<void> received = take(cpu, server, through, deadline);
  // It has a new master, or none: what it inherited for the last one goes, what it must inherit for this one comes.
  if (backlog_ != 0 || server.own_context.level != server.own_context.base_level) {
    refresh_level(cpu, server.own_context);
    if (server.context != &server.own_context) refresh_level(cpu, *server.context);
  }
  return received;
}

Result<void> Port::take(Cpu& cpu, Thread& server, CapIndex through, Deadline deadline) {
  if (Notification* notification = bound(cpu)) {
    if (u64 bits = notification->take(cpu)) {
      deliver_words(server, &bits, 1, 0, MessageKind::signal);
      return {};
    }
  }
  // A caller whose capabilities cannot be transferred is answered and the next one tried; a few, then the call runs
  // again, so that the time in here is bounded.
  for (u32 tries = 0; queued_ > 0 || has_callers(); ++tries) {
    if (tries == 16) return Status::restart;
    if (queued_ > 0 && (!has_callers() || queue_[order_[0]].level >= best_level())) {
      const Queued& message = take_message(cpu);
      deliver_words(server, message.words, message.word_count, message.badge, MessageKind::send);
      server.own_context.causality = message.causality;
      return {};
    }
    if (take_caller(cpu, *callers_.first(), server).has_value()) return {};
  }
  if (server.take_cancel()) return Status::cancelled;
  if (deadline == kPoll) return Status::timed_out;
  server.begin_wait(cpu, WaitKind::receive, this, through, deadline);
  add_receiver(cpu, server);
  return {};
}

void Port::add_receiver(Cpu& cpu, Thread& thread) {
  if (receiver_ == nullptr && thread.run_on == &cpu) {
    receiver_ = &thread;
  } else {
    more_receivers_.push_back(thread);
  }
}

void Port::receiver_left(Thread& thread) {
  if (receiver_ == &thread) receiver_ = nullptr;
}

void Port::step_back(Thread& thread) {
  if (receiver_ != &thread) return;
  receiver_ = nullptr;
  more_receivers_.push_front(thread);
}

Thread* Port::receiver(Cpu& cpu) {
  for (;;) {
    Thread* next = receiver_ != nullptr ? receiver_ : more_receivers_.front();
    if (next == nullptr) return nullptr;
    if (next->process->alive()) return next;
    // Its process is going: what comes waits for the successor.
    next->abort_wait(cpu, Status::cancelled);
  }
}

// Nobody waits here but perhaps one receiver, and nothing is to be received.
bool Port::is_quiet() const { return backlog_ == 0 && more_receivers_.empty(); }

// Nobody but perhaps the receiver, who goes along, serves here.
void Port::change_home(Cpu& to) {
  if (Notification* notification = bound(*home())) notification->set_home(to);
  set_home(to);
}

bool Port::follow_receiver(Cpu& to) {
  const Notification* notification = bound(*home());
  if (!is_quiet() || receiver_ != nullptr || !servers_.empty() ||
      (notification != nullptr && notification->has_waiters()))
    return false;
  change_home(to);
  return true;
}

bool Port::follow_caller(Cpu& cpu, Thread& client) {
  Cpu& to = *client.run_on;
  Thread* server = receiver_;
  const Notification* notification = bound(cpu);
  if (server == nullptr || !is_quiet() || servers_.front() != server || servers_.back() != server ||
      (notification != nullptr && notification->has_waiters()))
    return false;
  if (server->flags.load(kRelaxed) != 0 || !server->may_run_on(to) || server->reservation) return false;
  server->run_at(cpu, to);
  server->change_home(cpu, to);  // from then on it may be cancelled or killed there
  change_home(to);               // and a call there may take it
  return true;
}

void Port::caller_left(Cpu& cpu, Thread& thread) {
  if (!thread.caller_hook.linked()) return;
  callers_.erase(thread);
  count(cpu, -1);
  thread.stop_lending(cpu);
  refresh_servers(cpu);
}

void Port::set_pending(Cpu& cpu, bool pending) {
  if (pending != std::exchange(signal_pending_, pending)) count(cpu, pending ? 1 : -1);
}

Result<void> Port::send(Cpu& cpu, Thread& sender, u64 badge) {
  Descriptor d{sender.state.rax};
  TRY(check_descriptor(d));
  if (d.words() > kRegisterWords) return Status::too_big;
  if (d.capabilities() > 0 || d.has_deadline()) return Status::invalid_argument;
  if (!has_receiver_right()) return Status::peer_died;
  if (Thread* server = receiver(cpu)) {
    deliver_words(*server, sender.state.word, d.words(), badge, MessageKind::send);
    server->own_context.causality = sender.context->causality;
    server->end_wait_with_message(cpu);
    return {};
  }
  if (queued_ == capacity_) return Status::would_block;
  const u8 place = order_[queued_];
  Queued& message = queue_[place];
  message.badge = badge;
  message.causality = sender.context->causality;
  message.word_count = d.words();
  message.level = sender.context->level;
  for (u32 i = 0; i < kRegisterWords; ++i) message.words[i] = sender.state.word[i];
  u32 at = queued_++;
  for (; at > 0 && queue_[order_[at - 1]].level < message.level; --at) order_[at] = order_[at - 1];
  order_[at] = place;
  count(cpu, 1);
  return {};
}

Result<void> Port::bind(Cpu& cpu, const BindRequest<Notification>& target) {
  Notification& notification = target.target;
  Observer* other = notification.observer();  // which is here, too, if it is a port
  if (other != nullptr && other != this && other->observes(cpu)) return Status::busy;
  RefPtr<Notification> old;
  if (Notification* held = bound_.held()) old = RefPtr<Notification>(*held);
  TRY(bound_.bind(cpu, target));
  if (old) leave(cpu, *old);
  notification.set_observer(this);
  if (u64 bits = notification.take(cpu)) notification.signal(cpu, bits);
  return {};
}

void Port::unbind(Cpu& cpu) {
  if (Notification* held = bound_.held()) leave(cpu, *held);
  bound_.release(cpu);
}

void Port::leave(Cpu& cpu, Notification& notification) {
  notification.set_observer(nullptr);
  set_pending(cpu, false);
}

Notification* Port::bound(Cpu& cpu) {
  if (bound_.is_revoked()) unbind(cpu);
  return bound_.get();
}

bool Port::deliver_signal(Cpu& cpu, u64 bits) {
  if (bound(cpu) == nullptr) return false;
  Thread* server = receiver(cpu);
  if (server == nullptr) return false;
  deliver_words(*server, &bits, 1, 0, MessageKind::signal);
  server->end_wait_with_message(cpu);
  return true;
}

void Port::on_handle_added(Rights added) {
  if ((added & rights::port::receive) != 0) receive_handles_.fetch_add(1, kRelaxed);
}

void Port::on_handle_dropped(Cpu& cpu, Rights dropped) {
  if ((dropped & rights::port::receive) != 0 && receive_handles_.fetch_sub(1, kAcqRel) == 1) post(cpu, kOwnEvent);
}

// The last right to receive went.
void Port::on_event(Cpu& cpu) {
  if (has_receiver_right()) return;  // another has come
  if (!fail_callers(cpu)) post_again(cpu, kOwnEvent);
}

void Port::on_zero_handles(Cpu& cpu) {
  check_observer(cpu);
  if (!fail_callers(cpu)) return post_again(cpu, kZeroHandles);
  for (u32 n = 0; Thread* server = receiver(cpu); ++n) {
    if (n == kWokenAtOnce) return post_again(cpu, kZeroHandles);
    server->abort_wait(cpu, Status::revoked);
  }
}

// Answers some of the queued callers PeerDied. True when none is left.
bool Port::fail_callers(Cpu& cpu) {
  for (u32 n = 0; Thread* client = callers_.first(); ++n) {
    if (n == kWokenAtOnce) return false;
    client->abort_wait(cpu, Status::peer_died);
  }
  return true;
}

void Port::wake_revoked(Cpu& cpu) {
  check_observer(cpu);
  wake_revoked_waiters(cpu, more_receivers_);
  Thread* next = nullptr;
  for (Thread* t = callers_.first(); t != nullptr; t = next) {
    next = callers_.next(*t);
    if (is_revoked(*t)) t->abort_wait(cpu, Status::revoked);
  }
  if (receiver_ != nullptr && is_revoked(*receiver_)) receiver_->abort_wait(cpu, Status::revoked);
}

Result<void> answer(Cpu& cpu, Thread& sender, Thread& client) {
  if (client.phase.fault) {
    bool resume = FaultAnswer(sender.word(0)) == FaultAnswer::resume && Descriptor{sender.state.rax}.words() > 0;
    client.leave_callee(cpu);
    if (resume) {
      client.end_wait_with_message(cpu);
    } else {
      client.process->kill(cpu, ~u64{0});
    }
    return {};
  }
  TRY(transfer_message(cpu, sender, client, 0, MessageKind::call));
  client.leave_callee(cpu);
  client.end_wait_with_message(cpu);
  return {};
}

Result<bool> Port::reply_and_wait(Cpu& cpu, Thread& server, CapIndex through) {
  Thread* client = server.caller;
  if (client == nullptr || backlog_ != 0 || receiver_ != nullptr ||
      (server.flags.load(kRelaxed) | client->flags.load(kRelaxed)) != 0 || client->context != cpu.context ||
      client->run_on != &cpu || server.run_on != &cpu) {
    return false;
  }
  TRY(transfer_message(cpu, server, *client, 0, MessageKind::call));
  client->callee = nullptr;
  server.caller = nullptr;
  server.context = &server.own_context;
  enlist(server, through);
  server.begin_wait(cpu, WaitKind::receive, this, through, kForever);
  add_receiver(cpu, server);
  client->end_wait_with_handoff(cpu);
  return true;
}

Result<void> reply_to_caller(Cpu& cpu, Thread& server) {
  Descriptor d{server.state.rax};
  TRY(check_descriptor(d));
  if (server.caller == nullptr) return {};
  return answer(cpu, server, *server.caller);
}

bool is_revoked(const Thread& t) {
  const CapIndex through = t.waits_through();
  return through != kNoCapability && !t.process->caps.find(through).has_value();
}

void wake_revoked_waiters(Cpu& cpu, WaitQueue& queue) {
  Thread* next = nullptr;
  for (Thread* t = queue.front(); t != nullptr; t = next) {
    next = queue.next(*t);
    if (is_revoked(*t)) t->abort_wait(cpu, Status::revoked);
  }
}

}  // namespace keel
