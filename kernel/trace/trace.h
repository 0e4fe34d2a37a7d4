// Trace: typed events in a ring per CPU, for panics and (later) observers: the last things that a CPU did.
#pragma once

#include "abi/types.h"

namespace keel {

class TraceRing {
 public:
  static constexpr u32 kRecords = 1024;
  void add(const TraceRecord& record) { records_[next_++ % kRecords] = record; }
  // How many were ever added; the last kRecords of them are there.
  u64 next() const { return next_; }
  const TraceRecord& at(u64 index) const { return records_[index % kRecords]; }
  // Calls f(record) for the last `count` records, oldest first.
  template <class F>
  void last(u32 count, F f) const {
    const u64 n = next_ < kRecords ? next_ : kRecords;
    if (count > n) count = u32(n);
    for (u64 i = next_ - count; i != next_; ++i) f(records_[i % kRecords]);
  }

 private:
  TraceRecord records_[kRecords];
  u64 next_ = 0;
};

}  // namespace keel
