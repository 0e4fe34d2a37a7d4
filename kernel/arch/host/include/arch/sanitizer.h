// Tells AddressSanitizer which kernel memory is free, so that it finds uses after free in our own allocators. In the
// simulator memory changes hands here: what the CPU has stored there comes before whatever it writes there next.
#pragma once

#include "base/atomic.h"
#include "base/types.h"

#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif

namespace keel::arch {

inline void poison([[maybe_unused]] void* memory, [[maybe_unused]] usize bytes) {
  simulation_fence();
#if __has_feature(address_sanitizer)
  ASAN_POISON_MEMORY_REGION(memory, bytes);
#endif
}
inline void unpoison([[maybe_unused]] void* memory, [[maybe_unused]] usize bytes) {
  simulation_fence();
#if __has_feature(address_sanitizer)
  ASAN_UNPOISON_MEMORY_REGION(memory, bytes);
#endif
}

}  // namespace keel::arch
