#include "kernel/ipc/fast_detail.h"
#include "kernel/ipc/port.h"

namespace keel {
namespace {

// Copies the words of a message that are in no register. Each is read once: the sender's page may change meanwhile.
[[gnu::always_inline]] inline void carry(const Thread& from, Thread& to, u64 status) {
  const u64 words = (status >> Descriptor::kWordsShift) - kRegisterWords;
  arch::copy_words(&to.message_page->words[kRegisterWords], &from.message_page->words[kRegisterWords], words);
}

// A message of words alone, in registers or, carried, in the message page.
template <bool Carried>
[[gnu::always_inline]] inline bool fits(u64 status) {
  return status >> Descriptor::kWordsShift <= (Carried ? kMaxMessageWords : kRegisterWords);
}
bool has_more_than_words(u64 status) { return status >> Descriptor::kCapsShift != 0; }

}  // namespace

// The functions are split where the checks end, so that each half finds enough registers free: the message occupies all
// but rbx, r10 and `thread`.

// thread = the server, target = the badge. Nothing can fail any more.
KEEL_FAST [[gnu::noinline]] static void commit_call(KEEL_FAST_PARAMETERS) {
  Thread* client = cpu->current;
  hand_over(*cpu, *client, *thread);
  arch::fast_switch(*cpu, *client, *thread, status);
  status &= Descriptor::kWordsMask << Descriptor::kWordsShift;
  [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
}

// Carried: words that travel through the message pages, too.
template <bool Carried>
KEEL_FAST static void call_path(KEEL_FAST_PARAMETERS) {
  thread = cpu->current;
  CapSlot* slot = slot_of(*thread, target);
  if (!is_live(*slot, target)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_bad_capability(KEEL_FAST_ARGUMENTS);
  }
  if (!fits<Carried>(status)) [[unlikely]] {
    if (Carried || has_more_than_words(status)) [[unlikely]] {
      // SAFETY: the callee takes it for the slot that it is.
      thread = reinterpret_cast<Thread*>(slot);
      [[clang::musttail]] return fast_call_with_capability(KEEL_FAST_ARGUMENTS);
    }
    [[clang::musttail]] return call_path<true>(KEEL_FAST_ARGUMENTS);
  }
  if (!slot->has(FastUse::call)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  // First: only while the port is at home does its receiver stay what it is.
  auto* port = arch::in_register(static_cast<Port*>(slot->object));  // its register is the server's next
  if (!is_home(*port, cpu)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  Thread* server = arch::in_register(port->receiver_);
  if (server == nullptr || has_flags(*thread) || has_flags(*server)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  if constexpr (Carried) carry(*thread, *server, status);
  slot = arch::in_register(slot);
  static_cast<Port*>(slot->object)->receiver_ = nullptr;
  target = slot->scope;
  thread = server;
  [[clang::musttail]] return commit_call(KEEL_FAST_ARGUMENTS);
}

// thread = the client; the port has the server back. Nothing can fail any more.
KEEL_FAST [[gnu::noinline]] static void commit_reply_receive(KEEL_FAST_PARAMETERS) {
  Thread* server = cpu->current;
  hand_back(*cpu, *server, *thread);
  target = 0;
  arch::fast_switch(*cpu, *server, *thread, status);
  status &= Descriptor::kWordsMask << Descriptor::kWordsShift;
  [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
}

template <bool Carried>
KEEL_FAST static void reply_receive_path(KEEL_FAST_PARAMETERS) {
  if (!fits<Carried>(status)) [[unlikely]] {
    if (Carried || has_more_than_words(status)) [[unlikely]] {
      [[clang::musttail]] return fast_reply_with_capability(KEEL_FAST_ARGUMENTS);
    }
    [[clang::musttail]] return reply_receive_path<true>(KEEL_FAST_ARGUMENTS);
  }
  Thread* server = arch::in_register(cpu->current);
  thread = arch::in_register(server->caller);
  if (thread == nullptr || has_flags(*thread) || has_flags(*server) || thread->run_on != cpu) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  if (server->receive_capability != CapIndex(target)) [[unlikely]] {  // the port that it serves is another: Thread I5
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
  cpu = arch::in_register(cpu);  // the server is loaded again rather than kept: there are no registers to keep it in
  server = cpu->current;
  port->receiver_ = server;
  if constexpr (Carried) carry(*server, *thread, status);
  [[clang::musttail]] return commit_reply_receive(KEEL_FAST_ARGUMENTS);
}

KEEL_FAST void fast_call(KEEL_FAST_PARAMETERS) { [[clang::musttail]] return call_path<false>(KEEL_FAST_ARGUMENTS); }

KEEL_FAST void fast_reply_receive(KEEL_FAST_PARAMETERS) {
  [[clang::musttail]] return reply_receive_path<false>(KEEL_FAST_ARGUMENTS);
}

}  // namespace keel
