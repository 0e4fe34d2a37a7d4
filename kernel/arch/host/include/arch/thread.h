// The registers of a simulated thread: those that system calls use.
#pragma once

#include "abi/types.h"
#include "base/types.h"

namespace keel::arch {

enum class ResumeKind : u64 { system_call = 0, interrupted = 1 };
inline constexpr u64 kUserFlags = 0x202;

struct ThreadState {
  u64 rip = 0, rsp = 0, rbx = 0, rbp = 0;
  u64 rax = 0;
  u64 rdi = 0;
  u64 word[kRegisterWords] = {};
  u64 rcx = 0, r10 = 0, r11 = 0;
  u64 rflags = kUserFlags;
  u64 fs_base = 0, gs_base = 0;
  ResumeKind resume = ResumeKind::interrupted;

  void start(u64 entry, u64 stack, u64 argument0, u64 argument1) {
    rip = entry;
    rsp = stack;
    rdi = argument0;
    word[0] = argument1;
  }
  void restart_call() { rip -= 2; }
};

}  // namespace keel::arch
