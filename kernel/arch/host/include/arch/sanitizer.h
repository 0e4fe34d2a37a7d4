// Tells AddressSanitizer which kernel memory is free, so that it finds uses after free in our own allocators.
#pragma once

#include "base/types.h"

#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif

namespace keel::arch {

inline void poison([[maybe_unused]] void* memory, [[maybe_unused]] usize bytes) {
#if __has_feature(address_sanitizer)
  ASAN_POISON_MEMORY_REGION(memory, bytes);
#endif
}
inline void unpoison([[maybe_unused]] void* memory, [[maybe_unused]] usize bytes) {
#if __has_feature(address_sanitizer)
  ASAN_UNPOISON_MEMORY_REGION(memory, bytes);
#endif
}

}  // namespace keel::arch
