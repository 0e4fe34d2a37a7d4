#include "kernel/ipc/fast.h"

#include <arch/fast_switch.h>

#include "abi/objects.h"
#include "kernel/cap/space.h"
#include "kernel/core/cpu.h"
#include "kernel/core/thread.h"
#include "kernel/ipc/port.h"

namespace keel {
namespace {

// The descriptor of a message of up to eight words and nothing else is at most this, shifted down by the call number.
constexpr u64 kPlainWords = kRegisterWords;

// The slot that an index names, live or not.
[[gnu::always_inline]] inline CapSlot* slot_of(const Thread& thread, u64 index) {
  const u32 low = u32(index);
  const u32 chunk =
      low >> 12 & (CapSpace::kChunks - 1);  // masked, not checked: also under speculation inside the table
  // SAFETY: a chunk is kSlotsPerChunk slots of 32 bytes; the masked offset is a multiple of 32 inside it.
  return reinterpret_cast<CapSlot*>(reinterpret_cast<char*>(thread.directory[chunk]) + (low & 0xfe0));
}

// Whether the header is that of a live slot with the index's generation, and the index has no bits that mean nothing.
[[gnu::always_inline]] inline bool is_live(u64 header, u64 index) {
  constexpr u64 kUnused = 0xffe0001f;
  return (((header ^ index) >> 32) | (index & kUnused)) == 0;
}
// Whether a live slot is a port with these rights; a free slot is none.
[[gnu::always_inline]] inline bool is_port(u64 header, Rights needed) {
  const u32 wanted = u32(ObjectKind::port) | u32{needed} << 16;
  return (u32(header) & (0xff | u32{needed} << 16)) == wanted;
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
  arch::fast_switch(*cpu, *client, *thread);
  status &= Descriptor::kWordsMask << Descriptor::kWordsShift;
  [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
}

void fast_call(KEEL_FAST_PARAMETERS) {
  if (status >> Descriptor::kWordsShift > kPlainWords) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  thread = cpu->current;
  CapSlot* slot = slot_of(*thread, target);
  if (!is_live(slot->header.load(kRelaxed), target)) [[unlikely]] {  // same CPU: nobody clears it meanwhile
    target = 0;
    status = u64(Status::bad_capability);
    [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
  }
  if (!is_port(slot->header.load(kRelaxed), rights::port::call)) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  auto* port = static_cast<Port*>(slot->object);
  Thread* server = port->receiver_;
  if (server == nullptr || (thread->flags | server->flags) != 0 || server->cpu != cpu || port->has_more_receivers())
      [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  port->receiver_ = nullptr;
  target = slot->scope;
  thread = server;
  [[clang::musttail]] return commit_call(KEEL_FAST_ARGUMENTS);
}

// The port has the server back. Nothing can fail any more.
KEEL_FAST [[gnu::noinline]] static void commit_reply_receive(KEEL_FAST_PARAMETERS) {
  Thread* server = cpu->current;
  server->phase = {ThreadStatus::waiting, WaitKind::receive};
  server->wait.capability = CapIndex(target);
  server->context = &server->own_context;
  thread = server->caller;
  server->caller = nullptr;
  thread->callee = nullptr;
  thread->phase = {ThreadStatus::running};
  cpu->current = thread;
  target = 0;
  arch::fast_switch(*cpu, *server, *thread);
  status &= Descriptor::kWordsMask << Descriptor::kWordsShift;
  [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
}

void fast_reply_receive(KEEL_FAST_PARAMETERS) {
  if (status >> Descriptor::kWordsShift > kPlainWords) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  thread = cpu->current;
  Thread* client = thread->caller;
  if (client == nullptr || (client->flags | thread->flags) != 0 || client->cpu != cpu) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  CapSlot* slot = slot_of(*thread, target);
  if (!is_live(slot->header.load(kRelaxed), target) || !is_port(slot->header.load(kRelaxed), rights::port::receive))
      [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  auto* port = static_cast<Port*>(slot->object);
  if (port->backlog_ != 0 || port->receiver_ != nullptr) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  port->receiver_ = thread;
  thread->wait.object = port;
  [[clang::musttail]] return commit_reply_receive(KEEL_FAST_ARGUMENTS);
}

}  // namespace keel
