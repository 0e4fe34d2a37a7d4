// Ports, replies, notifications, wait sets, timers, words. call, receive, reply_receive: context.cc.
#include "kernel/core/machine.h"
#include "kernel/ipc/message.h"
#include "kernel/syscall/handlers.h"
#include "kernel/syscall/objects.h"

namespace keel::sys {
namespace {

u64 allowed_bits(const CapSlot& slot) { return slot.scope == 0 ? ~u64{0} : slot.scope; }

// What the caller may wait for through the capability.
Result<Observable*> get_observable(CallContext& c, CapIndex index) {
  const Result<CapSlot*> slot = c.caps().find(index);
  switch (slot.has_value() ? CapSlot::kind((*slot)->load()) : ObjectKind::none) {
    case ObjectKind::port:
      return TRY(c.get<Port>(index, rights::port::receive));
    case ObjectKind::reply:
      return TRY(c.get<Reply>(index, rights::reply::reply));
    default:
      return TRY(c.get<Notification>(index, rights::notification::wait));
  }
}

}  // namespace

Result<CapIndex> port_create(CallContext& c, ResourceGroup& group, u64 queue_messages) {
  if (queue_messages > Port::kMaxQueue) return Status::invalid_argument;
  return c.publish(TRY(Port::create(c.cpu, group, u32(queue_messages))));
}

Result<void> port_bind(CallContext& c, Port& port, Notification* notification) {
  if (notification == nullptr) {
    port.unbind(c.cpu);
    return {};
  }
  Cpu& at = *notification->home();  // read once: it may be on its way
  if (&at == &c.cpu) return port.bind(c.cpu, c.binding(*notification, CapIndex(c.word(0)), 0));
  if (port.follow_receiver(at)) return c.go_to(at);
  // The port is in use: the notification has to come. Either may move on meanwhile. Word 1: how often it has been
  // asked.
  constexpr u64 kMostInvitations = 64;
  if (!notification->is_invited()) {
    if (c.word(1) >= kMostInvitations) return Status::busy;
    c.set_word(1, c.word(1) + 1);
    notification->invite(c.cpu, c.cpu);
  }
  return c.go_to(c.cpu);
}

// Where the caller is, not the port: it is the caller that goes there.
Result<void> forward(CallContext& c, Port& port) { return port.forward(c.cpu, c.thread, c.target().scope); }

Result<void> send(CallContext& c, Port& port) { return port.send(c.cpu, c.thread, c.target().scope); }

// Each message by way of the caller's registers, which the call's end overwrites anyway.
Result<u64> send_batch(CallContext& c, Port& port, u64 count, u64 words) {
  if (count > kMaxMessageWords / kRegisterWords || words > kRegisterWords) return Status::invalid_argument;
  for (u64 sent = 0; sent < count; ++sent) {
    c.thread.state.rax = Descriptor::make(u32(words));
    for (u32 i = 0; i < kRegisterWords; ++i)
      c.set_word(i, i < words ? c.thread.message_page->words[sent * kRegisterWords + i] : 0);
    const Result<void> queued = port.send(c.cpu, c.thread, c.target().scope);
    if (!queued.has_value()) return sent == 0 ? queued.status() : Result<u64>(sent);
  }
  return count;
}

Result<u64> receive_batch(CallContext& c, Port& port) {
  const u32 received = port.receive_batch(c.cpu, *c.thread.message_page);
  return received == 0 ? Status::would_block : Result<u64>(received);
}

Result<CapIndex> reply_create(CallContext& c, ResourceGroup& group) {
  return c.publish(TRY(Reply::create(c.cpu, group)));
}

Result<void> reply_take(CallContext& c, Reply& reply) {
  if (!c.is_visit()) return reply.take(c.cpu, c.thread);
  if (!reply.is_empty()) return Status::busy;
  reply.set_home(*c.thread.run_on);  // the caller is there
  return c.go_to(*c.thread.run_on);
}

Result<void> reply_send(CallContext& c, Reply& reply) {
  TRY(check_descriptor(c.descriptor()));
  return reply.send(c.cpu, c.thread);
}

Result<CapIndex> notification_create(CallContext& c, ResourceGroup& group) {
  return c.publish(TRY(Notification::create(c.cpu, group)));
}

Result<u64> notification_wait(CallContext& c, Notification& notification, Deadline deadline) {
  if (c.is_visit() && notification.is_quiet()) {
    notification.set_home(*c.thread.run_on);
    return c.go_to(*c.thread.run_on);
  }
  if (u64 bits = notification.take(c.cpu)) return bits;
  TRY(notification.wait(c.cpu, c.thread, c.capability(), deadline));
  return u64{0};
}

Result<CapIndex> wait_set_create(CallContext& c, ResourceGroup& group) {
  return c.publish(TRY(WaitSet::create(c.cpu, group)));
}

Result<void> wait_set_add(CallContext& c, WaitSet& set, u64 member, u64 key) {
  Observable& target = *TRY(get_observable(c, CapIndex(member)));
  if (!target.is_local(c.cpu)) return c.go_to(*target.home());
  return set.add(c.cpu, c.binding(target, CapIndex(member), key));
}

Result<void> wait_set_remove(CallContext& c, WaitSet& set, u64 key) {
  Cpu* const to = TRY(set.remove(c.cpu, key));
  return to == nullptr ? Result<void>() : c.go_to(*to);
}

Result<WaitSetWaitResult> wait_set_wait(CallContext& c, WaitSet& set, Deadline deadline) {
  const WaitSet::Report ready = TRY(set.wait(c.cpu, c.thread, c.capability(), deadline));
  return WaitSetWaitResult{ready.key, ready.gone};
}

Result<CapIndex> timer_create(CallContext& c, ResourceGroup& group, Notification& notification, u64 bits) {
  const CapIndex through(c.word(0));
  if ((bits & ~allowed_bits(c.slot(through))) != 0) return Status::missing_right;
  return c.publish(TRY(Timer::create(c.cpu, group, c.binding(notification, through, bits))));
}

Result<void> timer_set(CallContext& c, Timer& timer, Deadline deadline, u64 period) {
  if (period != 0 && period < Timer::kMinPeriodNs) return Status::invalid_argument;
  if (c.is_visit()) {
    timer.change_home(c.cpu, *c.thread.run_on);
    return c.go_to(*c.thread.run_on);
  }
  timer.set(c.cpu, deadline, period);
  return {};
}

Result<void> word_wait(CallContext& c, VirtAddr address, u64 expected, Deadline deadline) {
  WordRef word = TRY(c.thread.space->locate(c.cpu, address));
  return c.machine().words.wait(c.cpu, c.thread, word, u32(expected), deadline);
}

Result<u64> word_wake(CallContext& c, VirtAddr address, u64 count) {
  WordRef word = TRY(c.thread.space->locate(c.cpu, address));
  return c.machine().words.wake(c.cpu, word, count);
}

}  // namespace keel::sys
