// Random numbers, the log, the machine's counters, power.
#include <string.h>

#include <arch/context.h>
#include <arch/power.h>

#include "kernel/core/machine.h"
#include "kernel/syscall/handlers.h"
#include "kernel/syscall/objects.h"

namespace keel::sys {

Result<RandomGetResult> random_get(CallContext& c, u64 words) {
  if (words == 0 || words > 4) return Status::invalid_argument;
  u64 r[4] = {};
  for (u64 i = 0; i < words; ++i) r[i] = c.machine().random.next(c.cpu);
  return RandomGetResult{r[0], r[1], r[2], r[3]};
}

Result<void> log_write(CallContext& c, KernelControl&, u64 bytes, u64 level) {
  if (bytes > LogRecord::kMaxText) return Status::too_big;
  if (level > u64(LogLevel::debug)) return Status::invalid_argument;
  char text[LogRecord::kMaxText];
  memcpy(text, c.thread.message_page->words, bytes);  // read once
  // A record is one line and moves no cursor.
  for (char& at : std::span(text, bytes)) at = (at >= ' ' && at <= '~') || at == '\t' ? at : '?';
  c.machine().log.write(c.cpu, LogLevel(level), &c.process(), {text, bytes});
  return {};
}

Result<LogReadResult> log_read(CallContext& c, KernelControl&, u64 sequence, Deadline deadline) {
  LogRecord record;
  if (!c.machine().log.read(c.cpu, sequence, &record)) {
    if (c.thread.take_cancel()) return Status::cancelled;
    if (deadline == kPoll) return Status::timed_out;
    if (!c.machine().log.wait(c.cpu, c.thread, sequence, c.capability(), deadline)) return Status::restart;
    return LogReadResult{};
  }
  memcpy(c.thread.message_page->words, record.text, record.bytes);
  return LogReadResult{record.sequence, record.time_ns, record.bytes,   record.level,
                       record.process,  record.name[0], record.name[1], record.name[2]};
}

Result<SystemInfoResult> system_info(CallContext& c, KernelControl&) {
  Machine& m = c.machine();
  auto s = m.frames.statistics();
  return SystemInfoResult{s.total,
                          s.free,
                          s.kernel + s.page_table,
                          m.cpu_count.load(kRelaxed),
                          c.cpu.now_ns(),
                          m.first_user_tsc - m.boot_tsc,
                          m.process_count(),
                          m.thread_count()};
}

Result<CpuInfoResult> cpu_info(CallContext& c, KernelControl&, u64 number) {
  Machine& m = c.machine();
  if (number >= m.cpu_count.load(kAcquire)) return Status::out_of_range;
  const Cpu& cpu = *m.cpus[number];
  const u64 now = c.cpu.now_tsc();
  u64 idle = cpu.idle_tsc;
  if (cpu.context == nullptr && now > cpu.context_since) idle += now - cpu.context_since;
  return CpuInfoResult{m.clock.ns_at(now), m.clock.to_ns(idle), cpu.reserved_ppm, cpu.node};
}

Result<void> system_power(CallContext&, KernelControl&, u64 action) {
  switch (PowerAction(action)) {
    case PowerAction::reset:
      arch::reset_machine();
    case PowerAction::off:
      arch::exit_emulator(arch::ExitReason::success);
    case PowerAction::failed:
      arch::exit_emulator(arch::ExitReason::failure);
    default:
      return Status::invalid_argument;
  }
}

Result<TraceReadResult> trace_read(CallContext& c, KernelControl&, u64 cpu, u64 cursor) {
  if (cpu >= c.machine().cpu_count.load(kAcquire)) return Status::out_of_range;
  if (cpu != c.cpu.index) return c.go_to(*c.machine().cpus[cpu]);  // a ring is its CPU's own
  const TraceRing& ring = c.cpu.trace;
  const u64 oldest = ring.next() > TraceRing::kRecords ? ring.next() - TraceRing::kRecords : 0;
  const u64 first = cursor < oldest ? oldest : cursor;
  u64 count = ring.next() > first ? ring.next() - first : 0;
  if (count > kTraceRecordsPerRead) count = kTraceRecordsPerRead;
  for (u64 i = 0; i < count; ++i) {
    memcpy(&c.thread.message_page->words[i * sizeof(TraceRecord) / sizeof(u64)], &ring.at(first + i),
           sizeof(TraceRecord));
  }
  return TraceReadResult{first + count, count, cursor == 0 ? 0 : first - cursor};
}

Result<void> cpus_start(CallContext& c, KernelControl&) {
  if (c.cpu.index != 0) return c.go_to(*c.machine().cpus[0]);
  arch::hasten_cpus(c.cpu);
  return {};
}

Result<void> kernel_console(CallContext& c, KernelControl&, u64 enabled) {
  if (enabled > 1) return Status::invalid_argument;
  c.machine().log.set_console(c.cpu, enabled == 1);
  return {};
}

}  // namespace keel::sys
