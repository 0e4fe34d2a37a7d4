// ByteReader: bounds-checked access to little-endian data that nobody vouches for.
//
// Every offset and length may be any 64-bit number; what lies outside gives Status::out_of_range. Nothing needs to be
// aligned. Each call reads its bytes once, so that it is safe over memory another process may change meanwhile, as
// long as the caller does not read a field twice.
#pragma once

#include <bit>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "base/result.h"
#include "base/types.h"

namespace keel {

class ByteReader {
 public:
  constexpr ByteReader() = default;
  constexpr explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  constexpr u64 size() const { return bytes_.size(); }
  constexpr std::span<const std::byte> bytes() const { return bytes_; }
  constexpr bool contains(u64 offset, u64 length) const {
    return offset <= bytes_.size() && length <= bytes_.size() - offset;
  }

  Result<u8> read_u8(u64 offset) const { return read<u8>(offset); }
  Result<u16> read_u16(u64 offset) const { return read<u16>(offset); }
  Result<u32> read_u32(u64 offset) const { return read<u32>(offset); }
  Result<u64> read_u64(u64 offset) const { return read<u64>(offset); }

  // A copy of the T at `offset`. For a struct: its layout is the file's, without padding, and little-endian.
  template <class T>
  Result<T> read(u64 offset) const {
    static_assert(std::is_trivially_copyable_v<T>);
    static_assert(std::endian::native == std::endian::little);
    if (!contains(offset, sizeof(T))) return Status::out_of_range;
    T value;
    std::memcpy(&value, bytes_.data() + offset, sizeof(T));
    return value;
  }

  Result<std::span<const std::byte>> subspan(u64 offset, u64 length) const {
    if (!contains(offset, length)) return Status::out_of_range;
    return bytes_.subspan(offset, length);
  }
  Result<ByteReader> sub_reader(u64 offset, u64 length) const {
    if (!contains(offset, length)) return Status::out_of_range;
    return ByteReader(bytes_.subspan(offset, length));
  }

  // The text from `offset` up to a NUL, which must come within `max_length` + 1 bytes and before the end; else
  // Status::corrupt.
  Result<std::string_view> cstring(u64 offset, u64 max_length) const {
    if (offset > bytes_.size()) return Status::out_of_range;
    const char* text = reinterpret_cast<const char*>(bytes_.data()) + offset;
    const u64 left = bytes_.size() - offset;
    for (u64 i = 0; i < left && i <= max_length; ++i) {
      if (text[i] == '\0') return std::string_view(text, i);
    }
    return Status::corrupt;
  }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace keel
