// AuditRing: who gave, took or was refused which authority: typed records (abi/types.h, AuditRecord) in a ring per CPU.
// It is apart from the trace, so that a busy machine does not push them out.
//
// Invariants   I1 records [next_ - kRecords, next_) are there, each in the place of its number; numbers start at 1,
//                 without gaps. The one place more is that of record next_, which may be half written.
//              I2 a denial that equals the record before it is counted there, as long as nobody has read that: who is
//                 refused in a loop pushes nothing out.
// Locks        none: the CPU itself writes, any may read. What was overwritten meanwhile is not there any more (I1).
// Costs        a record is 6 stores and a read of the time stamp counter, about 40 instructions with the call.
// See          docs/subsystems/log-and-trace.md, audit_inline.h, audit_test.cc
#pragma once

#include <array>
#include <span>

#include "abi/config.h"
#include "abi/status.h"
#include "abi/types.h"
#include "base/atomic.h"
#include "kernel/core/clock.h"

namespace keel {

class Cpu;
class KObject;
class Process;

class AuditRing {
 public:
  static constexpr u32 kSlots = 512;
  static constexpr u32 kRecords = kSlots - 1;

  // The number is given here; time_ns is a time stamp as yet.
  void add(const AuditRecord& record);
  void add_denial(const AuditRecord& record);
  struct Part {
    u64 next;   // to go on with
    u64 count;  // that were copied
    u64 lost;   // that were overwritten before
  };
  // Copies records from number `first` (0: the oldest) on.
  Part read(const Clock& clock, u64 first, std::span<AuditRecord> out);

 private:
  static constexpr u32 kWords = sizeof(AuditRecord) / sizeof(u64);
  using Words = std::array<u64, kWords>;
  static constexpr u32 kLast = kWords - 1;  // which alone changes in a record that is there
  struct Slot {
    Atomic<u64> words[kLast];  // the record but for its first word, the number
  };
  bool load(u64 number, AuditRecord* record) const;

  Slot slots_[kSlots];
  Atomic<u64> next_{1};
  Atomic<u64> read_{0};  // the greatest number that somebody has read
};

// `process` did that with a capability to the object; 0: the kernel.
void audit(Cpu& cpu, AuditEvent event, u64 process, u64 other, const KObject& object, u16 rights);
// A call of the process was refused for the capability that it named by `index`.
void audit_denial(Cpu& cpu, const Process& process, CapIndex index, u8 call, Status status);
// The process has made a setting of the kernel weaker.
void audit_weaken(Cpu& cpu, const Process& process, Knob knob, u32 value);

}  // namespace keel
