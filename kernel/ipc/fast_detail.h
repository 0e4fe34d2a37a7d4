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

// Before the exit that loads the words from memory.
#define KEEL_FAST_FORGET ::keel::arch::forget(w0, w1, w2, w3, w4, w5, w6, w7, target, status)

}  // namespace keel
