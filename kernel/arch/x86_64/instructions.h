// Single machine instructions as functions.
#pragma once

#include "base/types.h"

namespace keel::arch {

// SAFETY (all of this file): each function executes one instruction that touches no memory of ours. A caller of out*()
// or write_*() answers for what the device or control register then does.

inline void out8(u16 port, u8 value) { asm volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
inline void out32(u16 port, u32 value) { asm volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }
inline u8 in8(u16 port) {
  u8 value;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

struct CpuidResult {
  u32 eax, ebx, ecx, edx;
};
inline CpuidResult cpuid(u32 leaf, u32 subleaf = 0) {
  CpuidResult r;
  asm volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
  return r;
}

inline u64 read_tsc() {
  u32 low, high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high));
  return (u64{high} << 32) | low;
}

// False: the generator had nothing to give. Only where CPUID reports RDRAND.
inline bool read_random(u64* out) {
  bool ok;
  asm volatile("rdrand %0" : "=r"(*out), "=@ccc"(ok));
  return ok;
}

inline u64 read_cr3() {
  u64 value;
  asm volatile("mov %%cr3, %0" : "=r"(value));
  return value;
}
// The memory clobber keeps accesses through the old tables before and through the new tables after.
inline void write_cr3(u64 value) { asm volatile("mov %0, %%cr3" : : "r"(value) : "memory"); }

inline void out16(u16 port, u16 value) { asm volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
inline u16 in16(u16 port) {
  u16 value;
  asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
inline u32 in32(u16 port) {
  u32 value;
  asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

inline u64 read_msr(u32 msr) {
  u32 low, high;
  asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
  return (u64{high} << 32) | low;
}
inline void write_msr(u32 msr, u64 value) {
  asm volatile("wrmsr" : : "c"(msr), "a"(u32(value)), "d"(u32(value >> 32)) : "memory");
}
inline u64 read_cr2() {
  u64 value;
  asm volatile("mov %%cr2, %0" : "=r"(value));
  return value;
}
inline u64 read_fs_base() {
  u64 value;
  asm volatile("rdfsbase %0" : "=r"(value));
  return value;
}
inline void write_fs_base(u64 value) { asm volatile("wrfsbase %0" : : "r"(value)); }
inline u64 read_gs_base() {
  u64 value;
  asm volatile("rdgsbase %0" : "=r"(value));
  return value;
}
inline void write_gs_base(u64 value) { asm volatile("wrgsbase %0" : : "r"(value)); }
inline void write_xcr0(u64 value) { asm volatile("xsetbv" : : "c"(0), "a"(u32(value)), "d"(u32(value >> 32))); }
// `area` is 64-byte aligned and large enough for the components in `mask`.
inline void save_vector_state(void* area, u64 mask) {
  asm volatile("xsaveq (%0)" : : "r"(area), "a"(u32(mask)), "d"(u32(mask >> 32)) : "memory");
}
inline void restore_vector_state(const void* area, u64 mask) {
  asm volatile("xrstorq (%0)" : : "r"(area), "a"(u32(mask)), "d"(u32(mask >> 32)) : "memory");
}
inline void pause() { asm volatile("pause"); }

inline void halt_with_interrupts_off() { asm volatile("cli; hlt" : : : "memory"); }

}  // namespace keel::arch
