// InplaceVector<T, N>: up to N values of T kept inside the object. Never allocates; T is copyable and has a default.
#pragma once

#include <array>
#include <span>

#include "base/types.h"

namespace keel {

template <class T, usize N>
class InplaceVector {
 public:
  constexpr usize size() const { return size_; }
  constexpr bool empty() const { return size_ == 0; }
  constexpr bool full() const { return size_ == N; }
  static constexpr usize capacity() { return N; }

  // False: full, nothing was added.
  [[nodiscard]] constexpr bool push_back(const T& value) {
    if (full()) return false;
    items_[size_++] = value;
    return true;
  }
  constexpr void pop_back() {
    if (empty()) __builtin_trap();
    --size_;
  }
  constexpr void clear() { size_ = 0; }

  constexpr T& operator[](usize i) {
    if (i >= size_) __builtin_trap();
    return items_[i];
  }
  constexpr const T& operator[](usize i) const {
    if (i >= size_) __builtin_trap();
    return items_[i];
  }
  constexpr T& back() { return (*this)[size_ - 1]; }
  constexpr T* begin() { return items_.data(); }
  constexpr T* end() { return items_.data() + size_; }
  constexpr const T* begin() const { return items_.data(); }
  constexpr const T* end() const { return items_.data() + size_; }
  constexpr operator std::span<const T>() const {
    return {items_.data(), size_};
  }  // NOLINT(google-explicit-constructor)

 private:
  std::array<T, N> items_{};
  usize size_ = 0;
};

}  // namespace keel
