// Sizes that depend on the architecture.
#pragma once

#include "base/types.h"

namespace keel::arch {

inline constexpr u32 kMaxCpus = 1024;

}  // namespace keel::arch
