// Log: the kernel's log, a ring of records that readers follow by sequence number. Shown on the early console, too,
// until a driver takes the console over.
//
// Invariants   I1 records [next_ - kRecords, next_) are there; a reader that fell behind goes on with the oldest.
// Locks        lock_ (rank log) guards the ring; readers wait in a shared queue.
#pragma once

#include <span>
#include <string_view>

#include "abi/types.h"
#include "base/format.h"
#include "kernel/core/shared_queue.h"

namespace keel {

struct LogRecord {
  static constexpr u32 kMaxText = 240;
  u64 sequence = 0;
  u64 time_ns = 0;
  u64 process = 0;   // 0: the kernel
  u64 name[3] = {};  // the process's, as it was then: whoever reads may come when it is gone
  u16 level = 0;     // LogLevel, kLogShown
  u16 bytes = 0;
  u32 reserved = 0;
  char text[kMaxText] = {};
};

class Log {
 public:
  static constexpr u32 kRecords = 256;

  // `process` wrote it; null: the kernel.
  void write(Cpu& cpu, LogLevel level, const Process* process, std::string_view text);
  // The first record at or after `sequence`; false when there is none yet.
  bool read(Cpu& cpu, u64 sequence, LogRecord* out);
  // Whether records written from now on are shown on the early console: each says whether it was (kLogShown).
  void set_console(Cpu& cpu, bool enabled);
  // A reader that found nothing at `sequence` waits. False: there is something now.
  bool wait(Cpu& cpu, Thread& thread, u64 sequence, CapIndex through, Deadline deadline);
  void wake_readers(Cpu& cpu);
  void wake_revoked(Cpu& cpu);

 private:
  SpinLock lock_{LockRank::log, "log"};
  u64 next_ GUARDED_BY(lock_) = 1;
  LogRecord records_[kRecords] GUARDED_BY(lock_);
  bool console_ GUARDED_BY(lock_) = true;
  SpinLock console_lock_{LockRank::log, "early console"};
  SharedQueue waiters_{"log readers"};
};

// Formats and writes a record of the kernel's own.
void log_text(Cpu& cpu, LogLevel level, std::string_view text);
template <class... A>
void log_format(Cpu& cpu, LogLevel level, format_detail::FormatString<std::type_identity_t<A>...> fmt,
                const A&... arguments) {
  char buffer[LogRecord::kMaxText];
  log_text(cpu, level, format_to(buffer, fmt, arguments...));
}

}  // namespace keel
