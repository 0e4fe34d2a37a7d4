#include "kernel/cap/audit.h"

#include "kernel/cap/audit_inline.h"

namespace keel {
namespace {

bool is_same_denial(const AuditRecord& a, const AuditRecord& b) {
  return a.event == AuditEvent::denial && a.process == b.process && a.other == b.other && a.status == b.status &&
         a.call == b.call;
}

}  // namespace

bool AuditRing::load(u64 number, AuditRecord* record) const {
  const Slot& slot = slots_[number % kSlots];
  Words words = {number};
  for (u32 i = 1; i < kWords; ++i) words[i] = slot.words[i - 1].load(kAcquire);
  *record = std::bit_cast<AuditRecord>(words);
  return next_.load(kRelaxed) - number <= kRecords;
}

void AuditRing::add_denial(const AuditRecord& record) {
  const u64 last_number = next_.load(kRelaxed) - 1;
  AuditRecord last;
  if (last_number > read_.load(kRelaxed) && load(last_number, &last) && is_same_denial(last, record)) {  // I2
    if (last.repeated == 0xffff) return;
    ++last.repeated;
    slots_[last_number % kSlots].words[kLast - 1].store(std::bit_cast<Words>(last)[kLast], kRelease);
  } else {
    add(record);
  }
}

AuditRing::Part AuditRing::read(const Clock& clock, u64 first, std::span<AuditRecord> out) {
  const u64 next = next_.load(kAcquire);
  if (first == 0) first = 1;
  u64 number = next > kRecords ? next - kRecords : 1;
  if (number < first) number = first;
  u64 count = 0;
  for (; number < next && count < out.size(); ++number) {
    AuditRecord record;
    if (!load(number, &record)) continue;  // lost
    record.time_ns = clock.ns_at(record.time_ns);
    out[count++] = record;
  }
  if (count > 0 && number - 1 > read_.load(kRelaxed)) read_.store(number - 1, kRelaxed);
  return {number, count, number - first - count};
}

void audit(Cpu& cpu, AuditEvent event, u64 process, u64 other, const KObject& object, u16 rights) {
  audit_inline(cpu, event, process, other, object, rights);
}

void audit_denial(Cpu& cpu, const Process& process, CapIndex index, u8 call, Status status) {
  AuditRecord record{.time_ns = cpu.now_tsc(),
                     .process = process.id(),
                     .other = index.value,
                     .event = AuditEvent::denial,
                     .status = u8(status),
                     .call = call};
  if (Result<CapSlot*> slot = process.caps.find(index); slot.has_value()) {
    const u64 header = (*slot)->load();
    record.object = (*slot)->object->id();
    record.kind = u8(CapSlot::kind(header));
    record.rights = CapSlot::rights(header);
  }
  cpu.audit.add_denial(record);
}

void audit_weaken(Cpu& cpu, const Process& process, Knob knob, u32 value) {
  cpu.audit.add({.time_ns = cpu.now_tsc(),
                 .process = process.id(),
                 .other = value,
                 .object = u64(knob),
                 .event = AuditEvent::weaken,
                 .kind = u8(ObjectKind::kernel_control),
                 .rights = rights::kernel_control::weaken});
}

}  // namespace keel
