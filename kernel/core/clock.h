// Clock: time stamps to nanoseconds since boot and back. Set up once; the same numbers are in the time page, so that
// programs read the clock without a call.
#pragma once

#include "abi/types.h"

namespace keel {

class Clock {
 public:
  // `tsc_hz`: how fast the time stamp counter runs; `now_tsc` becomes time `at_ns`.
  void initialise(u64 tsc_hz, u64 now_tsc, u64 at_ns) {
    base_tsc_ = now_tsc;
    base_ns_ = at_ns;
    to_ns_ = (u64{1'000'000'000} << kShift) / tsc_hz;
    to_tsc_ = (tsc_hz << kShift) / 1'000'000'000;  // up to 4 GHz
  }
  u64 ns_at(u64 tsc) const { return base_ns_ + to_ns(tsc - base_tsc_); }
  // A span of time stamps in nanoseconds.
  u64 to_ns(u64 tsc) const { return u64((static_cast<unsigned __int128>(tsc) * to_ns_) >> kShift); }
  u64 to_tsc(u64 ns) const { return u64((static_cast<unsigned __int128>(ns) * to_tsc_) >> kShift); }
  void publish(TimePage& page) const {
    page.multiplier = to_ns_;
    page.shift = kShift;
    page.tsc_base = base_tsc_;
    page.ns_base = base_ns_;
  }

 private:
  static constexpr u32 kShift = 32;
  u64 base_tsc_ = 0;
  u64 base_ns_ = 0;
  u64 to_ns_ = u64{1} << kShift;
  u64 to_tsc_ = u64{1} << kShift;
};

}  // namespace keel
