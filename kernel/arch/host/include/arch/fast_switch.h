// What a switch on the fast path does on the host: nothing but the bookkeeping.
#pragma once

#include <arch/fast.h>

#include "kernel/core/cpu.h"
#include "kernel/core/thread.h"

// A function of its own: the sanitizers want a frame that the fast paths' calling convention cannot have.
#define KEEL_FAST_PART [[gnu::noinline]]

namespace keel::arch {

inline void copy_words(u64* to, const u64* from, u64 count) {
  for (u64 i = 0; i < count; ++i) to[i] = from[i];
}

// Keeps a value in one register.
template <class T>
inline T* in_register(T* p) {
  return p;
}

template <class... T>
inline void forget(T&... values) {
  ((values = {}), ...);
}

inline u64 and_mask(u64 value, const Atomic<u64>& mask) { return value & mask.load(kAcquire); }
template <class T>
inline bool is_equal(const Atomic<T>& word, T value) {
  return word.load(kAcquire) == value;
}
inline bool is_zero(const Atomic<u32>& word) { return word.load(kRelaxed) == 0; }

inline u64 fast_clock(const Cpu& cpu) { return cpu.arch.clock; }
inline void acknowledge_interrupt() {}

inline void fast_switch(Cpu& cpu, Thread&, Thread& to, u64&) {
  if (cpu.space.load(kRelaxed) == to.space) return;
  cpu.space.store(to.space, kRelaxed);
  ++cpu.arch.address_space_loads;
}

inline void switch_from_interrupted(Cpu& cpu, Thread& from, Thread& to) {
  u64 status = 0;
  fast_switch(cpu, from, to, status);
}

}  // namespace keel::arch
