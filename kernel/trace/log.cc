#include "kernel/trace/log.h"

#include <string.h>

#include <arch/early_console.h>

#include "kernel/core/cpu.h"
#include "kernel/core/machine.h"
#include "kernel/core/process.h"
#include "kernel/ipc/port.h"

namespace keel {
namespace {

void show(const LogRecord& record) {
  char line[LogRecord::kMaxText + 40];
  u64 us = record.time_ns / 1000;
  auto text = format_to(line, "[{:>4}.{:03}] {}\n", us / 1000, us % 1000, std::string_view(record.text, record.bytes));
  arch::early_console_write(text);
}

}  // namespace

void Log::write(Cpu& cpu, LogLevel level, const Process* process, std::string_view text) {
  if (text.size() > LogRecord::kMaxText) text = text.substr(0, LogRecord::kMaxText);
  LogRecord record;
  record.time_ns = cpu.now_ns();
  if (process != nullptr) {
    record.process = process->id();
    static_assert(sizeof(record.name) == sizeof(process->name().text));
    memcpy(record.name, process->name().text, sizeof(record.name));
  }
  record.bytes = u16(text.size());
  memcpy(record.text, text.data(), text.size());
  {
    LockGuard guard(cpu, lock_);
    const bool shown = console_ && level <= (kLogVerbose ? LogLevel::info : LogLevel::notice);
    record.level = u16(u16(level) | (shown ? kLogShown : 0));
    record.sequence = next_++;
    records_[record.sequence % kRecords] = record;
  }
  if ((record.level & kLogShown) != 0) {
    LockGuard guard(cpu, console_lock_);  // one line at a time
    show(record);
  }
  wake_readers(cpu);
}

void Log::wake_readers(Cpu& cpu) {
  u64 next = 0;
  {
    LockGuard guard(cpu, lock_);
    next = next_;
  }
  // They run their call again and find the record. Word 0: log_read()'s sequence number.
  auto is_there = [&](const Thread& t) { return t.state.word[0] < next; };
  waiters_.wake_some(cpu, cpu.machine.kernel_control(), KObject::kOwnEvent, is_there, Status::restart);
}

void Log::set_console(Cpu& cpu, bool enabled) {
  LockGuard guard(cpu, lock_);
  console_ = enabled;
}

bool Log::read(Cpu& cpu, u64 sequence, LogRecord* out) {
  LockGuard guard(cpu, lock_);
  u64 oldest = next_ > kRecords ? next_ - kRecords : 1;
  if (sequence < oldest) sequence = oldest;
  if (sequence >= next_) return false;
  *out = records_[sequence % kRecords];
  return true;
}

bool Log::wait(Cpu& cpu, Thread& thread, u64 sequence, CapIndex through, Deadline deadline) {
  LockGuard guard(cpu, waiters_.lock());
  {
    LockGuard ring(cpu, lock_);
    if (sequence < next_ && next_ > 1) return false;  // 0 is before the first, which is 1
  }
  thread.begin_wait(cpu, WaitKind::log, nullptr, through, deadline);
  waiters_.add(thread);
  return true;
}

void Log::wake_revoked(Cpu& cpu) {
  waiters_.wake_some(cpu, cpu.machine.kernel_control(), KObject::kRevoked, is_revoked, Status::revoked);
}

void log_text(Cpu& cpu, LogLevel level, std::string_view text) { cpu.machine.log.write(cpu, level, nullptr, text); }

}  // namespace keel
