// Trace: typed events in a ring per CPU, for panics and (later) observers: the last things that a CPU did.
#pragma once

#include "base/types.h"

namespace keel {

enum class TraceEvent : u8 { none, call, switch_to, fault, interrupt, kill, wake };

struct TraceRecord {
  u64 tsc = 0;
  TraceEvent event = TraceEvent::none;
  u8 code = 0;  // call number, vector, ...
  u16 status = 0;
  u32 thread = 0;
  u64 data[2] = {};
};
static_assert(sizeof(TraceRecord) == 32);

class TraceRing {
 public:
  static constexpr u32 kRecords = 256;
  void add(const TraceRecord& record) { records_[next_++ % kRecords] = record; }
  // Calls f(record) for the last `count` records, oldest first.
  template <class F>
  void last(u32 count, F f) const {
    u32 n = next_ < kRecords ? next_ : kRecords;
    if (count > n) count = n;
    for (u32 i = next_ - count; i != next_; ++i) f(records_[i % kRecords]);
  }

 private:
  TraceRecord records_[kRecords];
  u32 next_ = 0;
};

}  // namespace keel
