#include "kernel/cap/audit.h"

#include "kernel/core/cpu.h"
#include "kernel/core/process.h"

namespace keel {
namespace {

bool is_same_denial(const AuditRecord& a, const AuditRecord& b) {
  return a.event == AuditEvent::denial && b.event == AuditEvent::denial && a.process == b.process &&
         a.other == b.other && a.status == b.status && a.call == b.call;
}

}  // namespace

void AuditRing::add(Cpu& cpu, AuditRecord record) {
  record.time_ns = cpu.now_ns();
  LockGuard guard(cpu, lock_);
  AuditRecord& last = records_[(next_ - 1) % kRecords];
  if (next_ - 1 > read_ && is_same_denial(last, record)) {  // I2
    if (last.repeated != 0xffff) ++last.repeated;
    return;
  }
  record.sequence = next_++;
  records_[record.sequence % kRecords] = record;
}

AuditRing::Part AuditRing::read(Cpu& cpu, u64 first, std::span<AuditRecord> out) {
  LockGuard guard(cpu, lock_);
  if (first == 0) first = 1;
  const u64 oldest = next_ > kRecords ? next_ - kRecords : 1;
  const u64 from = first < oldest ? oldest : first;
  u64 count = from < next_ ? next_ - from : 0;
  if (count > out.size()) count = out.size();
  for (u64 i = 0; i < count; ++i) out[i] = records_[(from + i) % kRecords];
  if (count > 0 && from + count - 1 > read_) read_ = from + count - 1;
  return {from + count, count, from - first};
}

void audit(Cpu& cpu, AuditEvent event, u64 process, u64 other, const KObject& object, u16 rights) {
  cpu.audit.add(cpu, {.process = process,
                      .other = other,
                      .object = object.id(),
                      .event = event,
                      .kind = u8(object.kind()),
                      .rights = rights});
}

void audit_transfer(Cpu& cpu, const Process& from, const Process& to, const KObject& object, u16 rights) {
  audit(cpu, AuditEvent::transfer, from.id(), to.id(), object, rights);
}

void audit_denial(Cpu& cpu, const Process& process, CapIndex index, u8 call, Status status) {
  AuditRecord record{
      .process = process.id(), .other = index.value, .event = AuditEvent::denial, .status = u8(status), .call = call};
  if (Result<CapSlot*> slot = process.caps.find(index); slot.has_value()) {
    const u64 header = (*slot)->load();
    record.object = (*slot)->object->id();
    record.kind = u8(CapSlot::kind(header));
    record.rights = CapSlot::rights(header);
  }
  cpu.audit.add(cpu, record);
}

}  // namespace keel
