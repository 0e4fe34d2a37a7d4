// What may be done with a page, and how it is cached.
#pragma once

#include "base/types.h"

namespace keel {

enum class Access : u8 { read = 1, write = 2, execute = 4 };

// A set of Access bits. Never write and execute together in a mapping (W^X).
enum class Protection : u8 { none = 0, read = 1, read_write = 3, read_execute = 5, all = 7 };

constexpr bool allows(Protection p, Access a) { return (u8(p) & u8(a)) != 0; }
constexpr bool within(Protection p, Protection max) { return (u8(p) & ~u8(max)) == 0; }
// What page tables can express and W^X permits: write and execute imply read, and exclude each other.
constexpr bool is_mappable(Protection p) {
  return p == Protection::none || p == Protection::read || p == Protection::read_write || p == Protection::read_execute;
}

enum class CacheMode : u8 { write_back, write_combining, uncached };

struct MapFlags {
  Protection protection = Protection::none;
  CacheMode cache = CacheMode::write_back;
  bool user = true;
  bool operator==(const MapFlags&) const = default;
};

}  // namespace keel
