// What the fast paths share.
#pragma once

#include <arch/fast_switch.h>

#include "abi/objects.h"
#include "kernel/cap/space.h"
#include "kernel/core/cpu.h"
#include "kernel/core/thread.h"
#include "kernel/ipc/fast.h"

namespace keel {

// A descriptor shifted down by the call number is the number of words when it says nothing else, and greater than any
// number of words when it does.

// The slot that an index can name, and whether it does: then the slot is live.
[[gnu::always_inline]] inline CapSlot* slot_of(const Thread& thread, u64 index) {
  const u64 offset = arch::and_mask(u32(index) >> CapDirectory::kOffsetShift, thread.directory.mask);
  // SAFETY: as CapDirectory::at(), with fewer registers.
  const char* pointers = reinterpret_cast<const char*>(thread.directory.chunks.load(kRelaxed));
  char* chunk = arch::in_register(*reinterpret_cast<char* const*>(pointers + offset));
  constexpr u32 kInChunk = (CapDirectory::kSlotsPerChunk - 1) << CapSlot::kNumberShift;
  return arch::in_register(reinterpret_cast<CapSlot*>(chunk + (u32(index) & kInChunk)));
}
[[gnu::always_inline]] inline bool is_live(const CapSlot& slot, u64 index) { return arch::is_equal(slot.name, index); }

[[gnu::always_inline]] inline bool has_flags(const Thread& thread) { return !arch::is_zero(thread.flags); }
[[gnu::always_inline]] inline bool is_home(const KObject& object, Cpu* cpu) {
  return arch::is_equal(object.home_word(), cpu);
}

// The current thread waits for the server's reply; the server runs, on its context.
[[gnu::always_inline]] inline void hand_over(Cpu& cpu, Thread& client, Thread& server) {
  client.phase = {ThreadStatus::waiting, WaitKind::reply};
  server.phase = {ThreadStatus::running};
  client.callee = &server;
  server.caller = &client;
  server.context = client.context;
  cpu.current = &server;
}

// The current thread waits for its next call, in a port that knows it already; its client runs.
[[gnu::always_inline]] inline void hand_back(Cpu& cpu, Thread& server, Thread& client) {
  server.phase = {ThreadStatus::waiting, WaitKind::receive};
  server.context = &server.own_context;
  server.caller = nullptr;
  client.callee = nullptr;
  client.phase = {ThreadStatus::running};
  cpu.current = &client;
}

// Further instances of the paths of call and reply, for messages with capabilities (fast_capabilities.cc). A call has
// found the slot of its target, which is live: it is passed as `thread`, the one parameter that is free.
KEEL_FAST void fast_call_with_capability(KEEL_FAST_PARAMETERS);
KEEL_FAST void fast_reply_with_capability(KEEL_FAST_PARAMETERS);

// Before the exit that loads the words from memory.
#define KEEL_FAST_FORGET ::keel::arch::forget(w0, w1, w2, w3, w4, w5, w6, w7, target, status)

}  // namespace keel
