// The registers of a thread that is not running, at offsets that the entry code knows (entry.S, checked in
// processor.cc).
#pragma once

#include "abi/types.h"
#include "base/types.h"

namespace keel::arch {

// How a thread returns to user mode.
enum class ResumeKind : u64 {
  system_call = 0,  // by SYSRET: status, badge and words in their registers, vector state reset
  interrupted = 1,  // by IRET: every register as it was, vector state as it was
};

inline constexpr u64 kUserFlags = 0x202;  // interrupts on, the always-one bit

struct ThreadState {
  u64 rip = 0, rsp = 0, rbx = 0, rbp = 0;
  u64 rax = 0;                    // call number and descriptor in, status and descriptor out
  u64 rdi = 0;                    // capability in, badge out
  u64 word[kRegisterWords] = {};  // rsi rdx r8 r9 r12 r13 r14 r15
  u64 rcx = 0, r10 = 0, r11 = 0;
  u64 rflags = kUserFlags;
  u64 fs_base = 0, gs_base = 0;
  ResumeKind resume = ResumeKind::interrupted;
  // XSAVE area: legacy region and header, then AVX. Of a new thread only what start() writes counts: a header of zeros
  // stands for the initial state, whatever else is there.
  static constexpr u64 kVectorBytes = 896;
  static constexpr u64 kMxcsr = 24, kVectorHeader = 512, kVectorHeaderBytes = 64;
  alignas(64) u8 vector[kVectorBytes];

  void start(u64 entry, u64 stack, u64 argument0, u64 argument1) {
    rip = entry;
    rsp = stack;
    rdi = argument0;
    word[0] = argument1;
    resume = ResumeKind::interrupted;
    constexpr u32 kAllMasked = 0x1f80;
    __builtin_memcpy(&vector[kMxcsr], &kAllMasked, sizeof(kAllMasked));
    __builtin_memset(&vector[kVectorHeader], 0, kVectorHeaderBytes);
  }
  // Runs the system call again: SYSCALL is two bytes long, and its registers are still as they were on entry.
  void restart_call() { rip -= 2; }
};

}  // namespace keel::arch
