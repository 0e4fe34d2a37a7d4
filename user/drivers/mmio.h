// Device registers in mapped memory: each access is one access of its width, in program order.
#pragma once

#include <cstddef>

#include "base/types.h"

namespace keel {

// SAFETY: the callers check `offset` against the mapping's size.
template <class T>
T mmio_read(const std::byte* base, u64 offset = 0) {
  return *reinterpret_cast<const volatile T*>(base + offset);
}
template <class T>
void mmio_write(std::byte* base, u64 offset, T value) {
  *reinterpret_cast<volatile T*>(base + offset) = value;
}

}  // namespace keel
