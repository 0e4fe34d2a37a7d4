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

// Puts the next thread's FS base and, when it lives elsewhere, its address space into the CPU. Vector state and GS base
// do not survive a message: between processes they are reset. SAFETY (all of this file): the thread is about to run,
// its address space is alive, and the kernel half is the same in all.
[[gnu::always_inline]] inline void fast_switch(Cpu& cpu, Thread& from, Thread& to) {
  cpu.loaded = &to;
  asm volatile("rdfsbase %0" : "=r"(from.state.fs_base));
  asm volatile("wrfsbase %0" : : "r"(to.state.fs_base));
  AddressSpace* space = to.space;
  if (cpu.space == space) return;
  cpu.space = space;  // published before the switch, so that a flush on another CPU finds us
  asm volatile("mov %0, %%cr3" : : "r"(space->root().value) : "memory");
  asm volatile("wrgsbase %0" : : "r"(u64{0}));
  asm volatile("xrstorq %0" : : "m"(initial_vector_area), "a"(7), "d"(0) : "memory");
}

}  // namespace keel::arch
