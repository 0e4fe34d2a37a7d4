// No sanitizer watches the kernel's memory on the machine itself.
#pragma once

#include "base/types.h"

namespace keel::arch {

inline void poison(void*, usize) {}
inline void unpoison(void*, usize) {}

}  // namespace keel::arch
