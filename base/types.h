// Integer shorthands and the strong types that cross module borders.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace keel {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i8 = std::int8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;
using usize = std::size_t;

// A number with a meaning: `Tag` keeps two of them apart. No implicit conversion either way.
template <class Tag, class Rep = u64>
struct Strong {
  Rep value{};
  constexpr Strong() = default;
  constexpr explicit Strong(Rep v) : value(v) {}
  constexpr auto operator<=>(const Strong&) const = default;
};

struct PhysAddrTag;
struct VirtAddrTag;
using PhysAddr = Strong<PhysAddrTag>;  // a physical byte address
using VirtAddr = Strong<VirtAddrTag>;  // a virtual byte address, kernel's or user's

constexpr PhysAddr operator+(PhysAddr a, u64 n) { return PhysAddr(a.value + n); }
constexpr VirtAddr operator+(VirtAddr a, u64 n) { return VirtAddr(a.value + n); }
constexpr u64 operator-(PhysAddr a, PhysAddr b) { return a.value - b.value; }
constexpr u64 operator-(VirtAddr a, VirtAddr b) { return a.value - b.value; }

inline constexpr u64 kPageShift = 12;
inline constexpr u64 kPageSize = u64{1} << kPageShift;

constexpr u64 align_down(u64 value, u64 alignment) { return value & ~(alignment - 1); }
constexpr bool is_aligned(u64 value, u64 alignment) { return (value & (alignment - 1)) == 0; }
// The caller has checked that value + alignment - 1 does not overflow.
constexpr u64 align_up(u64 value, u64 alignment) { return (value + alignment - 1) & ~(alignment - 1); }

// Checked arithmetic: false means overflow and leaves *out unspecified.
[[nodiscard]] inline bool checked_add(u64 a, u64 b, u64* out) { return !__builtin_add_overflow(a, b, out); }
[[nodiscard]] inline bool checked_mul(u64 a, u64 b, u64* out) { return !__builtin_mul_overflow(a, b, out); }

}  // namespace keel
