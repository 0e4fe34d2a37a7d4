// What a switch on the fast path costs the machine.
#pragma once

#include <arch/fast.h>

#include "kernel/core/cpu.h"
#include "kernel/core/thread.h"
#include "kernel/mm/address_space.h"

namespace keel::arch {

// An XSAVE area in the initial state.
struct alignas(64) InitialVectorState {
  u8 bytes[ThreadState::kVectorBytes] = {};
};
extern "C" [[gnu::visibility("hidden")]] const InitialVectorState initial_vector_area;

// A part of a fast path that is a function to be readable.
#define KEEL_FAST_PART [[gnu::always_inline]]

// `count` > 0 words, which do not overlap.
[[gnu::always_inline]] inline void copy_words(u64* to, const u64* from, u64 count) {
  asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

// Keeps the compiler from recomputing a pointer out of parts that would need registers of their own.
template <class T>
[[gnu::always_inline]] inline T* in_register(T* p) {
  asm("" : "+r"(p));
  return p;
}

// The value is of no interest any more: whatever is in its register may stay there.
[[gnu::always_inline]] inline u64 anything() {
  u64 value;
  asm volatile("" : "=r"(value));  // volatile: each its own register
  return value;
}
template <class... T>
[[gnu::always_inline]] inline void forget(T&... values) {
  ((values = anything()), ...);
}

// What the compiler makes two instructions and a register of, because the words are atomic. and_mask: loads that follow
// it in the program do so in the machine.
[[gnu::always_inline]] inline u64 and_mask(u64 value, const Atomic<u64>& mask) {
  asm volatile("andq %1, %0" : "+r"(value) : "m"(mask) : "memory", "cc");
  return value;
}
// SAFETY: an aligned load is atomic here; the compiler may fold a plain one into the comparison, and moves none across
// the asm volatile around it.
template <class T>
[[gnu::always_inline]] inline bool is_equal(const Atomic<T>& word, T value) {
  return *reinterpret_cast<const T*>(&word) == value;
}
[[gnu::always_inline]] inline bool is_zero(const Atomic<u32>& word) { return is_equal(word, u32{0}); }

[[gnu::always_inline]] inline u64 fast_clock(const Cpu&) {
  u64 now;  // RDTSC clears the upper halves
  asm volatile("rdtsc\n shlq $32, %%rdx\n orq %%rdx, %0" : "=a"(now) : : "rdx", "cc");
  return now;
}

// The register of the local interrupt controller that takes acknowledgements.
extern "C" [[gnu::visibility("hidden")]] volatile u32* end_of_interrupt_register;
[[gnu::always_inline]] inline void acknowledge_interrupt() { *end_of_interrupt_register = 0; }

// Puts the next thread's FS base and, when it lives elsewhere, its address space into the CPU. Vector state and GS base
// do not survive a message: between processes they are reset. SAFETY (all of this file): the thread is about to run,
// its address space is alive, and the kernel half is the same in all.
[[gnu::always_inline]] inline void fast_switch(Cpu& cpu, Thread& from, Thread& to, u64& status) {
  asm volatile("rdfsbase %0" : "=r"(from.state.fs_base));
  asm volatile("wrfsbase %0" : : "r"(to.state.fs_base));
  AddressSpace* space = to.space;
  if (is_equal(cpu.space, space)) return;
  cpu.space.store(space, kRelaxed);  // published before the switch, so that a flush on another CPU finds us
  asm volatile("mov %0, %%cr3" : : "r"(space->root().value) : "memory");
  asm volatile("wrgsbase %0" : : "r"(u64{0}));
  // The mask of what to restore is edx:eax, of which only the low three bits name anything: they are set in `status`,
  // whose low byte the caller clears afterwards, and rdx stays what it is, a word of the message.
  asm volatile("orl $7, %%eax\n xrstorq %1" : "+a"(status) : "m"(initial_vector_area) : "memory");
}

// The same after an interrupt: what user mode had there is kept for `from`, which goes on with it later.
[[gnu::always_inline]] inline void switch_from_interrupted(Cpu& cpu, Thread& from, Thread& to) {
  asm volatile("rdfsbase %0" : "=r"(from.state.fs_base));
  asm volatile("rdgsbase %0" : "=r"(from.state.gs_base));
  asm volatile("xsaveq %0\n xrstorq %1"
               : "=m"(from.state.vector)
               : "m"(initial_vector_area), "a"(7), "d"(0)
               : "memory");
  asm volatile("wrfsbase %0" : : "r"(to.state.fs_base));
  asm volatile("wrgsbase %0" : : "r"(u64{0}));
  AddressSpace* space = to.space;
  if (is_equal(cpu.space, space)) return;
  cpu.space.store(space, kRelaxed);
  asm volatile("mov %0, %%cr3" : : "r"(space->root().value) : "memory");
}

}  // namespace keel::arch
