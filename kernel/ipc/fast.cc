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

// The slot that an index names if it is live and a port with these rights; null for everything else.
[[gnu::always_inline]] inline CapSlot* find_port(const Thread& thread, u64 index, Rights needed) {
  const u32 low = u32(index);
  const u32 chunk =
      low >> 12 & (CapSpace::kChunks - 1);  // masked, not checked: also under speculation inside the table
  // SAFETY: a chunk is kSlotsPerChunk slots of 32 bytes; the masked offset is a multiple of 32 inside it.
  auto* slot = reinterpret_cast<CapSlot*>(reinterpret_cast<char*>(thread.directory[chunk]) + (low & 0xfe0));
  const u64 header = slot->header.load(kRelaxed);  // same CPU, interrupts off: nobody clears it meanwhile
  constexpr u64 kUnused = 0xffe0001f;              // bits of an index that are no part of it
  if ((((header ^ index) >> 32) | (index & kUnused)) != 0) return nullptr;
  const u32 wanted = u32(ObjectKind::port) | u32{needed} << 16;
  if ((u32(header) & (0xff | u32{needed} << 16)) != wanted) return nullptr;
  return slot;
}

}  // namespace

void fast_call(KEEL_FAST_PARAMETERS) {
  const u64 descriptor = status >> Descriptor::kWordsShift;
  if (descriptor > kPlainWords) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  Thread* client = cpu->current;
  CapSlot* slot = find_port(*client, target, rights::port::call);
  if (slot == nullptr) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  auto* port = static_cast<Port*>(slot->object);
  Thread* server = port->receiver_;
  if (server == nullptr || (client->flags | server->flags) != 0 || server->cpu != cpu) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  if (port->has_more_receivers()) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  // From here on nothing can fail.
  port->receiver_ = nullptr;
  client->phase = {ThreadStatus::waiting, WaitKind::reply};
  server->phase = {ThreadStatus::running};
  client->callee = server;
  server->caller = client;
  server->context = client->context;
  cpu->current = server;
  target = slot->scope;
  arch::fast_switch(*cpu, *client, *server);
  thread = server;
  status = descriptor << Descriptor::kWordsShift;
  [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
}

void fast_reply_receive(KEEL_FAST_PARAMETERS) {
  const u64 descriptor = status >> Descriptor::kWordsShift;
  if (descriptor > kPlainWords) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  Thread* server = cpu->current;
  Thread* client = server->caller;
  if (client == nullptr || (client->flags | server->flags) != 0 || client->cpu != cpu) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  CapSlot* slot = find_port(*server, target, rights::port::receive);
  if (slot == nullptr) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  auto* port = static_cast<Port*>(slot->object);
  if (port->backlog_ != 0 || port->receiver_ != nullptr) [[unlikely]] {
    [[clang::musttail]] return arch::entry_slow_call(KEEL_FAST_ARGUMENTS);
  }
  port->receiver_ = server;
  server->phase = {ThreadStatus::waiting, WaitKind::receive};
  client->phase = {ThreadStatus::running};
  server->wait.object = port;
  server->wait.capability = CapIndex(target);
  server->caller = nullptr;
  client->callee = nullptr;
  server->context = &server->own_context;
  cpu->current = client;
  target = 0;
  arch::fast_switch(*cpu, *server, *client);
  thread = client;
  status = descriptor << Descriptor::kWordsShift;
  [[clang::musttail]] return arch::entry_fast_exit(KEEL_FAST_ARGUMENTS);
}

}  // namespace keel
