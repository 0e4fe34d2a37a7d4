// AuditRing: who gave, took or was refused which authority: typed records (abi/types.h, AuditRecord) in a ring per CPU.
// It is apart from the trace, so that a busy machine does not push them out.
//
// Invariants   I1 records [next - kRecords, next) are there, each under its number; numbers start at 1 and have no
// gaps.
//              I2 a denial that equals the record before it is counted there, as long as nobody has read that: who is
//                 refused in a loop pushes nothing out.
// Locks        lock_ (rank log): the CPU itself writes, any may read.
// Costs        a record is an exchange and 8 stores; a read of 80 records about 600 instructions.
// See          docs/subsystems/log-and-trace.md, audit_test.cc
#pragma once

#include <span>

#include "abi/status.h"
#include "abi/types.h"
#include "kernel/core/lock.h"

namespace keel {

class KObject;
class Process;

class AuditRing {
 public:
  static constexpr u32 kRecords = 512;

  // Number and time are given here.
  void add(Cpu& cpu, AuditRecord record);
  struct Part {
    u64 next;   // to go on with
    u64 count;  // that were copied
    u64 lost;   // that were overwritten before
  };
  // Copies records from number `first` (0: the oldest) on.
  Part read(Cpu& cpu, u64 first, std::span<AuditRecord> out);

 private:
  SpinLock lock_{LockRank::log, "audit"};
  u64 next_ GUARDED_BY(lock_) = 1;
  u64 read_ GUARDED_BY(lock_) = 0;  // records below were read by somebody
  AuditRecord records_[kRecords] GUARDED_BY(lock_);
};

// `process` did that with a capability to the object; 0: the kernel.
void audit(Cpu& cpu, AuditEvent event, u64 process, u64 other, const KObject& object, u16 rights);
// A message has carried a capability from one process to another. Every path that moves or copies one says so here.
void audit_transfer(Cpu& cpu, const Process& from, const Process& to, const KObject& object, u16 rights);
// A call of the process was refused for the capability that it named by `index`.
void audit_denial(Cpu& cpu, const Process& process, CapIndex index, u8 call, Status status);

}  // namespace keel
