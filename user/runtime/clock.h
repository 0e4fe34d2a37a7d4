// Time without a call: the time page and the processor's counter.
#pragma once

#include "abi/types.h"

namespace keel {

// Nanoseconds since boot; 0 if the process was given no time page.
u64 now_ns();
// The same for a value that the processor's counter had, e.g. of a TraceRecord.
u64 ns_of_counter(u64 counter);
// Seconds since 1970; 0 if unknown.
u64 wall_clock_s();

inline constexpr u64 kMillisecond = 1'000'000;
inline constexpr u64 kSecond = 1'000'000'000;

// A deadline this long from now.
inline Deadline after(u64 ns) { return Deadline(now_ns() + ns); }
inline bool has_passed(Deadline deadline) { return deadline != kForever && deadline.value <= now_ns(); }

// Waits; other threads go on.
void sleep_until(Deadline deadline);

// Called once at the start. A process without the capability `time` has no clock.
void map_time_page(CapIndex time);

}  // namespace keel
