// The fast paths of cap_derive, and of calls and replies with capabilities. What they do to spaces and trees is what
// CapSpace does for everybody, in line. One that is moved has a path of its own; more, or copies, go through
// transfer_capabilities().
#include "kernel/cap/audit_inline.h"
#include "kernel/cap/space_inline.h"
#include "kernel/core/process.h"
#include "kernel/ipc/fast_detail.h"
#include "kernel/ipc/message.h"
#include "kernel/ipc/port.h"

namespace keel {
namespace {

// CapSpace::insert_child()
KEEL_FAST_PART Result<CapIndex> derive(Cpu& cpu, CapSpace& to, CapSlot& from, Rights rights) {
  const CapIndex made = TRY(to.insert(cpu, *from.object, from.node(), rights, from.scope));
  audit_inline(cpu, AuditEvent::derive, to.holder_id(), 0, *from.object, rights);
  return made;
}
// transfer_capabilities(): false when it fails, for whatever reason; nothing has changed then. One: one that is moved.
template <bool One>
KEEL_FAST_PART bool transfer(Cpu& cpu, Thread& sender, Thread& receiver, Descriptor d) {
  if constexpr (!One) return transfer_capabilities(cpu, sender, receiver, d).has_value();
  const u64 index = sender.message_page->capabilities[0];
  CapSlot* slot = slot_of(sender, index);
  if (!is_live(*slot, index) || CapSlot::is_last(index)) [[unlikely]]
    return false;
  const Rights given = slot->rights();
  if ((given & rights::transfer) == 0) [[unlikely]]
    return false;
  const KObject& object = *slot->object;
  Process& from = *sender.process;
  Process& to = *receiver.process;
  const Result<CapIndex> made = &from.group() == &to.group() ? to.caps.move(cpu, from.caps, *slot, index)
                                                             : to.caps.move_from(cpu, from.caps, *slot);
  if (!made.has_value()) [[unlikely]]
    return false;
  receiver.message_page->capabilities[0] = made->value;
  audit_inline(cpu, AuditEvent::transfer, from.id(), to.id(), object, given);
  return true;
}

constexpr u64 kCaps = Descriptor::kCapsMask << Descriptor::kCapsShift;
// No more words than fit into registers; one capability, moved, or as many as there may be; nothing else.
template <bool One>
bool is_plain(u64 status) {
  constexpr u64 kMoves = Descriptor::kMoveMask << Descriptor::kMoveShift;
  if constexpr (One) return (status - Descriptor::make(0, 1, 1)) >> Descriptor::kWordsShift <= kRegisterWords;
  return (status & ~(kMoves | kCaps)) >> Descriptor::kWordsShift <= kRegisterWords &&
         (status & kCaps) <= Descriptor::make(0, kMaxMessageCaps);
}
// Status::ok, and what came.
u64 status_of(u64 descriptor) { return descriptor & (Descriptor::kWordsMask << Descriptor::kWordsShift | kCaps); }

// The message as it came, where the receiver finds it when it resumes; and back.
#define KEEL_FAST_STORE(t)                                                                        \
  (t).state.word[0] = w0, (t).state.word[1] = w1, (t).state.word[2] = w2, (t).state.word[3] = w3, \
  (t).state.word[4] = w4, (t).state.word[5] = w5, (t).state.word[6] = w6, (t).state.word[7] = w7, \
  (t).state.rax = status
#define KEEL_FAST_LOAD(t)                                                                         \
  w0 = (t).state.word[0], w1 = (t).state.word[1], w2 = (t).state.word[2], w3 = (t).state.word[3], \
  w4 = (t).state.word[4], w5 = (t).state.word[5], w6 = (t).state.word[6], w7 = (t).state.word[7], \
  status = (t).state.rax

}  // namespace

// thread = the server; target as it came. The transfer may fail, and may take the very capability that the call went
// through: the badge is in the server's state.
template <bool One>
KEEL_FAST [[gnu::noinline]] static void call_with_capability(KEEL_FAST_PARAMETERS) {
  if (!transfer<One>(*cpu, *cpu->current, *thread, Descriptor{status})) [[unlikely]] {
    KEEL_FAST_LOAD(*thread);
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  Thread* client = cpu->current;
  arch::forget(status);
  thread->serves->receiver_ = nullptr;
  hand_over(*cpu, *client, *thread);
  arch::fast_switch(*cpu, *client, *thread, status);
  thread->state.rax = status_of(thread->state.rax);
  KEEL_FAST_FORGET;
  [[clang::musttail]] return arch::entry_fast_resume(KEEL_FAST_ARGUMENTS);
}

template <bool One>
KEEL_FAST static void call_path_with_capability(KEEL_FAST_PARAMETERS) {
  // SAFETY: call_path() passed it so.
  auto* slot = reinterpret_cast<CapSlot*>(thread);
  if (!slot->has(FastUse::call)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  auto* port = arch::in_register(static_cast<Port*>(slot->object));
  if (!is_home(*port, cpu)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  Thread* server = arch::in_register(port->receiver_);
  if (server == nullptr || has_flags(*cpu->current) || has_flags(*server)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  thread = server;
  thread->state.rdi = slot->scope;
  KEEL_FAST_STORE(*thread);
  [[clang::musttail]] return call_with_capability<One>(KEEL_FAST_ARGUMENTS);
}

KEEL_FAST void fast_call_with_capability(KEEL_FAST_PARAMETERS) {
  if (is_plain<true>(status)) [[likely]] {
    [[clang::musttail]] return call_path_with_capability<true>(KEEL_FAST_ARGUMENTS);
  }
  if (!is_plain<false>(status)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  [[clang::musttail]] return call_path_with_capability<false>(KEEL_FAST_ARGUMENTS);
}

// thread = the client, the port is in server.serves; otherwise the same.
template <bool One>
KEEL_FAST [[gnu::noinline]] static void reply_with_capability(KEEL_FAST_PARAMETERS) {
  if (!transfer<One>(*cpu, *cpu->current, *thread, Descriptor{status})) [[unlikely]] {
    KEEL_FAST_LOAD(*thread);
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  Thread* server = cpu->current;
  arch::forget(status);
  server->serves->receiver_ = server;
  hand_back(*cpu, *server, *thread);
  arch::fast_switch(*cpu, *server, *thread, status);
  thread->state.rax = status_of(thread->state.rax);
  KEEL_FAST_FORGET;
  [[clang::musttail]] return arch::entry_fast_resume(KEEL_FAST_ARGUMENTS);
}

template <bool One>
KEEL_FAST static void reply_path_with_capability(KEEL_FAST_PARAMETERS) {
  Thread* server = arch::in_register(cpu->current);
  thread = arch::in_register(server->caller);
  if (thread == nullptr || has_flags(*thread) || has_flags(*server) || thread->run_on != cpu ||
      server->receive_capability != CapIndex(target)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  CapSlot* slot = slot_of(*server, target);
  if (!is_live(*slot, target) || !slot->has(FastUse::receive)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  auto* port = static_cast<Port*>(slot->object);
  if (!is_home(*port, cpu) || port->backlog_ != 0 || port->receiver_ != nullptr) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  thread->state.rdi = 0;
  KEEL_FAST_STORE(*thread);
  [[clang::musttail]] return reply_with_capability<One>(KEEL_FAST_ARGUMENTS);
}

KEEL_FAST void fast_reply_with_capability(KEEL_FAST_PARAMETERS) {
  if (is_plain<true>(status)) [[likely]] {
    [[clang::musttail]] return reply_path_with_capability<true>(KEEL_FAST_ARGUMENTS);
  }
  if (!is_plain<false>(status)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  [[clang::musttail]] return reply_path_with_capability<false>(KEEL_FAST_ARGUMENTS);
}

KEEL_FAST void fast_derive(KEEL_FAST_PARAMETERS) {
  thread = cpu->current;
  CapSlot* slot = slot_of(*thread, target);
  if (!is_live(*slot, target)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  // w0: the rights, w1: the scope.
  const u64 missing = (w0 | rights::derive) & ~u64{slot->rights()};
  if ((missing | w1 | status >> Descriptor::kWordsShift | thread->flags.load(kRelaxed)) != 0) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  const Result<CapIndex> made = derive(*cpu, thread->process->caps, *slot, Rights(w0));
  thread = cpu->current;
  status = u64(made.status());
  w0 = made.has_value() ? made->value : 0;
  w1 = w2 = w3 = w4 = w5 = w6 = w7 = target = 0;
  [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
}

}  // namespace keel
