#include "kernel/ipc/fast_remote.h"

#include <arch/context.h>

#include "abi/calls.h"
#include "kernel/core/entry.h"
#include "kernel/core/fast_scheduling.h"
#include "kernel/core/process.h"
#include "kernel/ipc/fast_detail.h"
#include "kernel/ipc/message.h"
#include "kernel/ipc/port.h"

namespace keel {

[[gnu::always_inline]] inline CapSlot* RemoteCalls::target(const Thread& thread, FastUse use) {
  CapSlot* slot = slot_of(thread, thread.state.rdi);
  return is_live(*slot, thread.state.rdi) && slot->has(use) ? slot : nullptr;
}

[[gnu::always_inline]] inline void RemoteCalls::leave(Cpu& cpu) {
  cpu.change_context(nullptr, arch::fast_clock(cpu));
  cpu.current = nullptr;
}

// Thread::depart()
[[gnu::always_inline]] inline void RemoteCalls::post(Cpu& cpu, Thread& thread, Cpu& to) {
  thread.set_flags(Thread::kMoving);
  thread.phase = {ThreadStatus::waiting, WaitKind::travel};
  thread.set_home(to);
  if (to.work.post(thread.traveller_)) arch::interrupt_cpu(cpu, to);
}

// transfer_message()
[[gnu::always_inline]] inline bool RemoteCalls::carry(Cpu& cpu, Thread& from, Thread& to, u64 badge) {
  if constexpr (kParanoidChecks) {
    return transfer_message(cpu, from, to, badge, MessageKind::call).has_value();
  }
  const u64 words = from.state.rax >> Descriptor::kWordsShift;
  if (words > kRegisterWords) [[unlikely]]
    arch::copy_words(&to.message_page->words[kRegisterWords], &from.message_page->words[kRegisterWords],
                     words - kRegisterWords);
  for (u32 i = 0; i < kRegisterWords; ++i) to.state.word[i] = from.state.word[i];
  to.state.rdi = badge;
  to.state.rax = words << Descriptor::kWordsShift;
  return true;
}

[[gnu::always_inline]] inline bool RemoteCalls::send_reply(Cpu& cpu, Thread& server) {
  Thread* const client = server.caller;
  if (client == nullptr || client->run_on == &cpu || has_flags(*client) || client->caller != nullptr || server.away_ ||
      server.receive_capability.value != server.state.rdi || server.own_context.level != server.own_context.base_level)
    return false;
  const CapSlot* slot = target(server, FastUse::receive);
  if (slot == nullptr) return false;
  auto* port = static_cast<Port*>(slot->object);
  if (port->home() != &cpu || port->backlog_ != 0 || port->receiver_ != nullptr || !carry(cpu, server, *client, 0))
    return false;
  client->callee = server.caller = nullptr;
  server.own_context.causality = {};
  server.phase = {ThreadStatus::waiting, WaitKind::receive};
  port->receiver_ = &server;
  leave(cpu);
  client->travel_ = Thread::Travel::ready;
  post(cpu, *client, *client->run_on);
  return true;
}

[[gnu::always_inline]] inline bool RemoteCalls::send(Cpu& cpu, Thread& thread) {
  const u64 descriptor = thread.state.rax;
  if (descriptor >> Descriptor::kWordsShift > kMaxMessageWords || has_flags(thread) || cpu.scheduler.ready_count() != 0)
    return false;
  if (Call(descriptor & 0xff) == Call::reply_receive) return send_reply(cpu, thread);
  const CapSlot* slot = target(thread, FastUse::call);
  if (slot == nullptr || thread.caller != nullptr || thread.serves != nullptr || thread.lender != nullptr) return false;
  Cpu* const to = slot->object->home();
  if (to == &cpu) return false;
  arch::unload_thread(cpu);
  leave(cpu);
  thread.travel_ = Thread::Travel::call;
  post(cpu, thread, *to);
  return true;
}

[[gnu::always_inline]] inline Thread* RemoteCalls::rest(Cpu& cpu) {
  if (!cpu.work.empty() || cpu.timer_stale) [[unlikely]]
    return finish_entry(cpu);
  cpu.machine.busy.remove(cpu.index);  // Cpu::go_idle()
  if (FastScheduling::is_wanted(cpu)) arch::interrupt_self(cpu);
  return nullptr;
}

[[gnu::always_inline]] inline Thread* RemoteCalls::go_on(Cpu& cpu) {
  Thread* next = cpu.current;
  if (next == nullptr || cpu.timer_stale || cpu.reschedule || FastScheduling::is_wanted(cpu)) [[unlikely]]
    return finish_entry(cpu);
  if (cpu.loaded != next) arch::load_thread(cpu, *next);
  return next;
}

[[gnu::always_inline]] inline bool RemoteCalls::may_run(Cpu& cpu, const Thread& thread, u64 now) {
  Account& account = *thread.context->account;
  return thread.process->alive() && (!account.limited() || account.exhausted(cpu, now) == nullptr);
}

[[gnu::always_inline]] inline Thread* RemoteCalls::deliver(Cpu& cpu, Thread& client, u64 now) {
  if (Call(client.state.rax & 0xff) != Call::call || client.run_on == &cpu ||
      client.state.rax >> Descriptor::kWordsShift > kMaxMessageWords)
    return nullptr;
  const CapSlot* slot = target(client, FastUse::call);
  if (slot == nullptr) return nullptr;
  auto* port = static_cast<Port*>(slot->object);
  Thread* const server = port->home() == &cpu ? port->receiver_ : nullptr;
  // One that might follow its caller does: CallContext::run_message_call().
  if (server == nullptr || has_flags(*server) || (server->may_run_on(*client.run_on) && !server->reservation) ||
      server->context->level < client.context->level || !may_run(cpu, *server, now) ||
      !carry(cpu, client, *server, slot->scope))
    return nullptr;
  client.clear_flags(Thread::kMoving);
  client.phase = {ThreadStatus::waiting, WaitKind::reply};
  client.callee = server;
  server->caller = &client;
  server->own_context.causality = client.context->causality;
  port->receiver_ = nullptr;
  return server;
}

[[gnu::always_inline]] inline bool RemoteCalls::arrive(Cpu& cpu, Thread& thread) {
  if (thread.flags.load(kRelaxed) != Thread::kMoving || thread.caller != nullptr || cpu.scheduler.ready_count() != 0)
    return false;
  const u64 now = arch::fast_clock(cpu);
  Thread* next = &thread;
  if (thread.travel_ == Thread::Travel::call) {
    next = deliver(cpu, thread, now);
    if (next == nullptr) return false;
  } else {
    if (thread.travel_ != Thread::Travel::ready || thread.run_on != &cpu || !may_run(cpu, thread, now)) return false;
    thread.clear_flags(Thread::kMoving);
  }
  cpu.change_context(next->context, now);
  if (cpu.budget_end_ns != Cpu::kNever) cpu.timer_stale = true;
  FastScheduling::run(cpu, *next, cpu.machine.clock.ns_at(now));
  return true;
}

void Thread::Traveller::arrive(Cpu& cpu) {
  if (cpu.current != nullptr || !RemoteCalls::arrive(cpu, thread_)) thread_.arrived(cpu);
}

Thread* enter_system_call(Cpu& cpu) {
  Thread& thread = *cpu.current;
  cpu.loaded = &thread;
  const Call call = Call(thread.state.rax & 0xff);
  if ((call == Call::call || call == Call::reply_receive) && RemoteCalls::send(cpu, thread))
    return RemoteCalls::rest(cpu);
  return carry_out_call(cpu);
}

Thread* enter_ipi(Cpu& cpu) {
  if (cpu.current != nullptr) return enter_self_interrupt(cpu);
  cpu.machine.busy.add(cpu.index);  // Cpu::leave_idle()
  if (Work* item = cpu.work.take_only()) item->arrive(cpu);
  return RemoteCalls::go_on(cpu);
}

}  // namespace keel
