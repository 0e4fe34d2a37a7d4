// The fast paths of cap_derive, and of calls and replies with one capability. What they do to spaces and trees is what
// CapSpace does for everybody, in line.
#include "kernel/cap/audit_inline.h"
#include "kernel/cap/space_inline.h"
#include "kernel/core/process.h"
#include "kernel/ipc/fast_detail.h"
#include "kernel/ipc/port.h"

namespace keel {

class FastCapabilities {
 public:
  struct Made {
    u64 status;
    u64 index;
  };
  // CapSpace::insert_child()
  KEEL_FAST_PART static Made derive(Cpu& cpu, CapSpace& to, CapSlot& from, Rights rights) {
    const Result<CapIndex> made = to.insert(cpu, *from.object, from.node(), rights, from.scope);
    if (!made.has_value()) [[unlikely]]
      return {u64(made.status()), 0};
    audit_inline(cpu, AuditEvent::derive, to.holder_id(), 0, *from.object, rights);
    return {u64(Status::ok), made->value};
  }
  // The same as transfer_capabilities() for one: false when it fails, for whatever reason; nothing has changed then.
  KEEL_FAST_PART static bool transfer(Cpu& cpu, Thread& sender, Thread& receiver, u64 status) {
    const u64 index = sender.message_page->capabilities[0];
    CapSlot* slot = slot_of(sender, index);
    if (!is_live(*slot, index)) [[unlikely]]
      return false;
    CapSpace& to = receiver.process->caps;
    const KObject& object = *slot->object;
    const Rights given = slot->rights();
    Result<CapIndex> made = Status::missing_right;
    if ((status & kMoved) != 0) {
      if ((given & rights::transfer) == 0) [[unlikely]]
        return false;
      made = to.move(cpu, sender.process->caps, *slot, index);
    } else {
      constexpr Rights kNeeded = rights::transfer | rights::derive;
      if ((given & kNeeded) != kNeeded) [[unlikely]]
        return false;
      made = to.insert_child(cpu, *slot, given, slot->scope);
    }
    if (!made.has_value()) [[unlikely]]
      return false;
    receiver.message_page->capabilities[0] = made->value;
    audit_inline(cpu, AuditEvent::transfer, sender.process->id(), to.holder_id(), object, given);
    return true;
  }

  static constexpr u64 kMoved = u64{1} << Descriptor::kMoveShift;
  static constexpr u64 kOne = u64{1} << Descriptor::kCapsShift;
  // One capability, no more words than fit into registers, nothing else.
  static bool is_plain(u64 status) { return ((status & ~kMoved) - kOne) >> Descriptor::kWordsShift <= kRegisterWords; }
};

namespace {

// The message's words, badge and status to where the receiver finds them when it resumes, and back.
#define KEEL_FAST_STORE_WORDS(t)                                                                  \
  (t).state.word[0] = w0, (t).state.word[1] = w1, (t).state.word[2] = w2, (t).state.word[3] = w3, \
  (t).state.word[4] = w4, (t).state.word[5] = w5, (t).state.word[6] = w6, (t).state.word[7] = w7
#define KEEL_FAST_LOAD_WORDS(t)                                                                   \
  w0 = (t).state.word[0], w1 = (t).state.word[1], w2 = (t).state.word[2], w3 = (t).state.word[3], \
  w4 = (t).state.word[4], w5 = (t).state.word[5], w6 = (t).state.word[6], w7 = (t).state.word[7]

u64 status_of(u64 descriptor) {
  constexpr u64 kCount = Descriptor::kWordsMask << Descriptor::kWordsShift | Descriptor::kCapsMask
                                                                                 << Descriptor::kCapsShift;
  return descriptor & kCount;
}

}  // namespace

// thread = the server; target, status as they came. The words and the badge are in the server's state, so that
// registers are free. The transfer may fail, and may take the very capability that the call went through.
KEEL_FAST [[gnu::noinline]] static void call_with_capability(KEEL_FAST_PARAMETERS) {
  Thread* client = cpu->current;
  if (!FastCapabilities::transfer(*cpu, *client, *thread, status)) [[unlikely]] {
    KEEL_FAST_LOAD_WORDS(*thread);
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  thread->serves->receiver_ = nullptr;
  thread->state.rax = status_of(status);
  hand_over(*cpu, *client, *thread);
  arch::fast_switch(*cpu, *client, *thread, status);
  KEEL_FAST_FORGET;
  [[clang::musttail]] return arch::entry_fast_resume(KEEL_FAST_ARGUMENTS);
}

KEEL_FAST void fast_call_with_capability(KEEL_FAST_PARAMETERS) {
  // SAFETY: call_path() passed it so.
  auto* slot = reinterpret_cast<CapSlot*>(thread);
  thread = cpu->current;
  if (!FastCapabilities::is_plain(status) || !slot->has(FastUse::call)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  auto* port = arch::in_register(static_cast<Port*>(slot->object));
  if (!is_home(*port, cpu)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  Thread* server = arch::in_register(port->receiver_);
  if (server == nullptr || has_flags(*thread) || has_flags(*server)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  thread = server;
  thread->state.rdi = slot->scope;
  KEEL_FAST_STORE_WORDS(*thread);
  [[clang::musttail]] return call_with_capability(KEEL_FAST_ARGUMENTS);
}

// thread = the client, the port is in server.wait; otherwise the same.
KEEL_FAST [[gnu::noinline]] static void reply_with_capability(KEEL_FAST_PARAMETERS) {
  Thread* server = cpu->current;
  if (!FastCapabilities::transfer(*cpu, *server, *thread, status)) [[unlikely]] {
    KEEL_FAST_LOAD_WORDS(*thread);
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  server->serves->receiver_ = server;
  thread->state.rax = status_of(status);
  hand_back(*cpu, *server, *thread);
  arch::fast_switch(*cpu, *server, *thread, status);
  KEEL_FAST_FORGET;
  [[clang::musttail]] return arch::entry_fast_resume(KEEL_FAST_ARGUMENTS);
}

KEEL_FAST void fast_reply_with_capability(KEEL_FAST_PARAMETERS) {
  Thread* server = arch::in_register(cpu->current);
  thread = arch::in_register(server->caller);
  if (thread == nullptr || has_flags(*thread) || has_flags(*server) || thread->run_on != cpu ||
      server->receive_capability != CapIndex(target)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  CapSlot* slot = slot_of(*server, target);
  if (!FastCapabilities::is_plain(status) || !is_live(*slot, target) || !slot->has(FastUse::receive)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  auto* port = static_cast<Port*>(slot->object);
  if (!is_home(*port, cpu) || port->backlog_ != 0 || port->receiver_ != nullptr) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  thread->state.rdi = 0;
  KEEL_FAST_STORE_WORDS(*thread);
  [[clang::musttail]] return reply_with_capability(KEEL_FAST_ARGUMENTS);
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
  const FastCapabilities::Made made = FastCapabilities::derive(*cpu, thread->process->caps, *slot, Rights(w0));
  thread = cpu->current;
  status = made.status;
  w0 = made.index;
  w1 = w2 = w3 = w4 = w5 = w6 = w7 = target = 0;
  [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
}

}  // namespace keel
