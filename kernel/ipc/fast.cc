#include "kernel/ipc/fast.h"

#include <arch/fast_switch.h>

#include "abi/objects.h"
#include "kernel/cap/space.h"
#include "kernel/core/cpu.h"
#include "kernel/core/thread.h"
#include "kernel/ipc/port.h"
#include "kernel/object/notification.h"

namespace keel {
namespace {

// A descriptor shifted down by the call number is the number of words when it says nothing else, and greater than any
// number of words when it does.

// The slot that an index names, live or not.
[[gnu::always_inline]] inline CapSlot* slot_of(const Thread& thread, u64 index) {
  const u32 chunk =
      u32(index) >> 12 & (CapSpace::kChunks - 1);  // masked, not checked: also under speculation in bounds
  // SAFETY: a chunk is kSlotsPerChunk slots of 32 bytes; the masked offset is a multiple of 32 inside it.
  char* slots = reinterpret_cast<char*>(arch::in_register(thread.directory[chunk]));
  return arch::in_register(reinterpret_cast<CapSlot*>(slots + (u32(index) & 0xfe0)));
}

// Whether the header is that of a live slot with the index's generation, and the index has no bits that mean nothing.
[[gnu::always_inline]] inline bool is_live(const CapSlot& slot, u64 index) {
  constexpr u32 kUnused = 0xffe0001f;
  if ((slot.header.load(kRelaxed) ^ index) >> 32 != 0) return false;  // same CPU: nobody clears it meanwhile
  return (u32(index) & kUnused) == 0;
}
// Whether a live slot is of this kind with these rights; a free slot is of none.
[[gnu::always_inline]] inline bool is_kind(const CapSlot& slot, ObjectKind kind, Rights needed) {
  const u32 wanted = u32(kind) | u32{needed} << 16;
  return (u32(slot.header.load(kRelaxed)) & (0xff | u32{needed} << 16)) == wanted;
}
[[gnu::always_inline]] inline bool is_port(const CapSlot& slot, Rights needed) {
  return is_kind(slot, ObjectKind::port, needed);
}

// Copies the words of a message that are in no register. Each is read once: the sender's page may change meanwhile.
[[gnu::always_inline]] inline void carry(const Thread& from, Thread& to, u64 status) {
  const u64 words = (status >> Descriptor::kWordsShift) - kRegisterWords;
  arch::copy_words(&to.message_page->words[kRegisterWords], &from.message_page->words[kRegisterWords], words);
}

}  // namespace

// The functions are split where the checks end, so that each half finds enough registers free: the message occupies all
// but rbx, r10 and `thread`.

// thread = the server, target = the badge. Nothing can fail any more.
KEEL_FAST [[gnu::noinline]] static void commit_call(KEEL_FAST_PARAMETERS) {
  Thread* client = cpu->current;
  client->phase = {ThreadStatus::waiting, WaitKind::reply};
  thread->phase = {ThreadStatus::running};
  client->callee = thread;
  thread->caller = client;
  thread->context = client->context;
  cpu->current = thread;
  arch::fast_switch(*cpu, *client, *thread, status);
  status &= Descriptor::kWordsMask << Descriptor::kWordsShift;
  [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
}

// Carried: words that travel through the message pages, too.
template <bool Carried>
KEEL_FAST static void call_path(KEEL_FAST_PARAMETERS) {
  if (status >> Descriptor::kWordsShift > (Carried ? kMaxMessageWords : kRegisterWords)) [[unlikely]] {
    if constexpr (Carried) {
      [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
    } else {
      [[clang::musttail]] return call_path<true>(KEEL_FAST_ARGUMENTS);
    }
  }
  thread = cpu->current;
  CapSlot* slot = slot_of(*thread, target);
  if (!is_live(*slot, target)) [[unlikely]] {
    target = 0;
    status = u64(Status::bad_capability);
    [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
  }
  if (!is_port(*slot, rights::port::call)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  Thread* server = arch::in_register(static_cast<Port*>(slot->object)->receiver_);
  if (server == nullptr || thread->flags.load(kRelaxed) != 0 || server->flags.load(kRelaxed) != 0 ||
      static_cast<Port*>(slot->object)->home() != cpu) [[unlikely]] {
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
  server->phase = {ThreadStatus::waiting, WaitKind::receive};
  server->wait.capability = CapIndex(target);
  server->context = &server->own_context;
  server->caller = nullptr;
  thread->callee = nullptr;
  thread->phase = {ThreadStatus::running};
  cpu->current = thread;
  target = 0;
  arch::fast_switch(*cpu, *server, *thread, status);
  status &= Descriptor::kWordsMask << Descriptor::kWordsShift;
  [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
}

template <bool Carried>
KEEL_FAST static void reply_receive_path(KEEL_FAST_PARAMETERS) {
  if (status >> Descriptor::kWordsShift > (Carried ? kMaxMessageWords : kRegisterWords)) [[unlikely]] {
    if constexpr (Carried) {
      [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
    } else {
      [[clang::musttail]] return reply_receive_path<true>(KEEL_FAST_ARGUMENTS);
    }
  }
  Thread* server = arch::in_register(cpu->current);
  thread = arch::in_register(server->caller);
  if (thread == nullptr || thread->flags.load(kRelaxed) != 0 || server->flags.load(kRelaxed) != 0 ||
      thread->run_on != cpu) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  CapSlot* slot = slot_of(*server, target);
  if (!is_live(*slot, target) || !is_port(*slot, rights::port::receive)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  auto* port = static_cast<Port*>(slot->object);
  if (port->home() != cpu || port->backlog_ != 0 || port->receiver_ != nullptr) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  cpu = arch::in_register(cpu);  // the server is loaded again rather than kept: there are no registers to keep it in
  server = cpu->current;
  port->receiver_ = server;
  server->wait.object = port;
  if constexpr (Carried) carry(*server, *thread, status);
  [[clang::musttail]] return commit_reply_receive(KEEL_FAST_ARGUMENTS);
}

// notification_signal when nobody waits: the bits are set and that is all. The words stay the caller's own.
KEEL_FAST void fast_signal(KEEL_FAST_PARAMETERS) {
  thread = cpu->current;
  CapSlot* slot = slot_of(*thread, target);
  if (!is_live(*slot, target) || !is_kind(*slot, ObjectKind::notification, rights::notification::signal)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  auto* notification = static_cast<Notification*>(slot->object);
  if (status >> Descriptor::kWordsShift != 0 || slot->scope != 0 || notification->home() != cpu ||
      !notification->is_quiet()) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  notification->add_quietly(w0);
  target = 0;
  status = u64(Status::ok);
  [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
}

KEEL_FAST void fast_call(KEEL_FAST_PARAMETERS) { [[clang::musttail]] return call_path<false>(KEEL_FAST_ARGUMENTS); }

KEEL_FAST void fast_reply_receive(KEEL_FAST_PARAMETERS) {
  [[clang::musttail]] return reply_receive_path<false>(KEEL_FAST_ARGUMENTS);
}

}  // namespace keel
