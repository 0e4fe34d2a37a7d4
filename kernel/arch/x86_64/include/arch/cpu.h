// The machine's part of a Cpu. It begins with what the entry code reads at fixed offsets (offsets.h).
#pragma once

#include "base/types.h"

namespace keel {
class Cpu;
class Thread;
}  // namespace keel

namespace keel::arch {

struct [[gnu::packed]] TaskState {
  u32 reserved0 = 0;
  u64 rsp[3] = {};
  u64 reserved1 = 0;
  u64 ist[7] = {};
  u64 reserved2 = 0;
  u16 reserved3 = 0;
  u16 io_map = sizeof(TaskState);  // beyond the limit: no I/O ports for user mode
};

struct CpuState {
  Cpu* self = nullptr;
  u64 stack_top = 0;
  Thread* (*enter_system_call)(Cpu&) = nullptr;
  Thread* (*enter_trap)(Cpu&, u64 vector, u64 error) = nullptr;
  void (*enter_panic)(Cpu&, u64* frame) = nullptr;
  Thread* (*finish_entry)(Cpu&) = nullptr;
  void* fast_interrupt = nullptr;
  // Not known to the entry code: the number of its local APIC.
  u64 apic_id = 0;
  void* dispatch[256] = {};
  // Not known to the entry code: the descriptor tables, how far the CPU's entry code is from the image's.
  void* tables = nullptr;
  u64 entry_shift = 0;
};
static_assert(sizeof(CpuState) == 64 + 256 * 8 + 16);

}  // namespace keel::arch
