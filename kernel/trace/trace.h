// Trace: typed events in a ring per CPU, for panics and (later) observers: the last things that a CPU did.
#pragma once

#include "abi/types.h"

namespace keel {

class TraceRing {
 public:
  static constexpr u32 kRecords = 1024;

  // First, because entry code adds records as well (entry.S).
  u64 added = 0;
  TraceRecord records[kRecords];

  void add(const TraceRecord& record) { records[added++ % kRecords] = record; }
  // How many were ever added; the last kRecords of them are there.
  u64 next() const { return added; }
  const TraceRecord& at(u64 index) const { return records[index % kRecords]; }
  // Calls f(record) for the last `count` records, oldest first.
  template <class F>
  void last(u32 count, F f) const {
    const u64 n = added < kRecords ? added : kRecords;
    if (count > n) count = u32(n);
    for (u64 i = added - count; i != added; ++i) f(records[i % kRecords]);
  }
};

}  // namespace keel
