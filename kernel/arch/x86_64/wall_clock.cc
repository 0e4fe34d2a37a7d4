// The clock that runs on a battery (CMOS), read once at the start.
#include <arch/start.h>

#include "kernel/arch/x86_64/instructions.h"

namespace keel::arch {
namespace {

constexpr u16 kIndexPort = 0x70, kDataPort = 0x71;
constexpr u8 kStatusA = 10, kStatusB = 11;
constexpr u8 kUpdating = 0x80;              // status A
constexpr u8 kBinary = 4, kTwentyFour = 2;  // status B
constexpr u8 kAfternoon = 0x80;             // in the hour, when that goes to 12
// An update takes 2 ms; a port is read in about 1 us.
constexpr u32 kPatience = 20'000;
constexpr u32 kAttempts = 4;

struct Date {
  u32 second, minute, hour, day, month, year;  // year from 2000
  bool operator==(const Date&) const = default;
};

u8 read_register(u8 index) {
  out8(kIndexPort, index);
  return in8(kDataPort);
}

Date read_date() {
  return {read_register(0), read_register(2), read_register(4), read_register(7), read_register(8), read_register(9)};
}

constexpr u32 from_bcd(u32 value) { return (value >> 4) * 10 + (value & 15); }

// 0 if it is no date.
constexpr u64 to_seconds(const Date& d) {
  constexpr u32 kBefore[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  constexpr u64 kDaysTo2000 = 10'957;
  if (d.second > 60 || d.minute > 59 || d.hour > 23 || d.day < 1 || d.day > 31 || d.month < 1 || d.month > 12 ||
      d.year > 99)
    return 0;
  const bool behind_leap_day = d.year % 4 == 0 && d.month > 2;
  const u64 days =
      kDaysTo2000 + u64{d.year} * 365 + (d.year + 3) / 4 + kBefore[d.month - 1] + behind_leap_day + d.day - 1;
  return ((days * 24 + d.hour) * 60 + d.minute) * 60 + d.second;
}
static_assert(to_seconds({0, 0, 0, 1, 1, 0}) == 946'684'800);
static_assert(to_seconds({59, 59, 23, 29, 2, 24}) == 1'709'251'199);
static_assert(to_seconds({0, 0, 0, 1, 3, 24}) == 1'709'251'200);
static_assert(to_seconds({0, 0, 0, 0xff, 1, 24}) == 0);

// Where there is no clock, all registers read as ones: it seems to be updating for ever.
bool wait_for_update() {
  for (u32 i = 0; i < kPatience; ++i) {
    if ((read_register(kStatusA) & kUpdating) == 0) return true;
  }
  return false;
}

}  // namespace

u64 read_wall_clock() {
  // The same twice: then no update fell in between.
  Date date{}, again{};
  u32 attempts = 0;
  do {
    if (attempts++ == kAttempts || !wait_for_update()) return 0;
    date = read_date();
    if (!wait_for_update()) return 0;
    again = read_date();
  } while (date != again);

  const u8 form = read_register(kStatusB);
  const bool afternoon = (form & kTwentyFour) == 0 && (date.hour & kAfternoon) != 0;
  if ((form & kTwentyFour) == 0) date.hour &= 0x7f;
  if ((form & kBinary) == 0) {
    for (u32* field : {&date.second, &date.minute, &date.hour, &date.day, &date.month, &date.year}) {
      *field = from_bcd(*field);
    }
  }
  if ((form & kTwentyFour) == 0) date.hour = date.hour % 12 + (afternoon ? 12 : 0);
  return to_seconds(date);
}

}  // namespace keel::arch
