// Text and bytes of bounded length, held in place: no allocation, trivially copyable.
#pragma once

#include <cstring>
#include <span>
#include <string_view>

#include "base/types.h"

namespace keel {

template <usize N>
class FixedString {
 public:
  constexpr FixedString() = default;
  // Keeps the first N bytes.
  constexpr FixedString(std::string_view text) { assign(text); }  // NOLINT(google-explicit-constructor)
  constexpr FixedString(const char* text)
      : FixedString(std::string_view(text)) {}  // NOLINT(google-explicit-constructor)

  constexpr void assign(std::string_view text) {
    size_ = static_cast<u32>(text.size() < N ? text.size() : N);
    for (u32 i = 0; i < size_; ++i) text_[i] = text[i];
  }
  // False, and nothing changes, if it does not fit.
  constexpr bool append(std::string_view text) {
    if (text.size() > N - size_) return false;
    for (char c : text) text_[size_++] = c;
    return true;
  }
  constexpr void write(std::string_view text) { append(text.substr(0, N - size_)); }  // a sink for format()
  constexpr void clear() { size_ = 0; }
  constexpr operator std::string_view() const { return {text_, size_}; }  // NOLINT(google-explicit-constructor)
  constexpr std::string_view view() const { return {text_, size_}; }
  constexpr usize size() const { return size_; }
  constexpr bool empty() const { return size_ == 0; }
  static constexpr usize capacity() { return N; }
  friend constexpr bool operator==(const FixedString& a, std::string_view b) { return a.view() == b; }

 private:
  u32 size_ = 0;
  char text_[N] = {};
};

template <usize N>
class FixedBytes {
 public:
  FixedBytes() = default;
  // Keeps the first N bytes.
  explicit FixedBytes(std::span<const std::byte> bytes) { append(bytes.first(bytes.size() < N ? bytes.size() : N)); }
  explicit FixedBytes(std::string_view text) : FixedBytes(std::as_bytes(std::span(text.data(), text.size()))) {}

  // False, and nothing changes, if it does not fit.
  bool append(std::span<const std::byte> bytes) {
    if (bytes.size() > N - size_) return false;
    if (!bytes.empty()) std::memcpy(bytes_ + size_, bytes.data(), bytes.size());
    size_ += static_cast<u32>(bytes.size());
    return true;
  }
  // Bytes beyond the old size are unspecified. The caller has checked that size <= N.
  void resize(usize size) { size_ = static_cast<u32>(size < N ? size : N); }
  void clear() { size_ = 0; }
  std::byte* data() { return bytes_; }
  const std::byte* data() const { return bytes_; }
  usize size() const { return size_; }
  bool empty() const { return size_ == 0; }
  usize room() const { return N - size_; }
  static constexpr usize capacity() { return N; }
  std::span<const std::byte> span() const { return {bytes_, size_}; }
  operator std::span<const std::byte>() const { return span(); }  // NOLINT(google-explicit-constructor)
  std::string_view text() const { return {reinterpret_cast<const char*>(bytes_), size_}; }

 private:
  u32 size_ = 0;
  std::byte bytes_[N];  // not cleared: only size_ bytes mean something
};

}  // namespace keel
