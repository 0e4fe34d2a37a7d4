// Sizes that depend on the architecture.
#pragma once

#include "base/types.h"

namespace keel::arch {

inline constexpr u32 kMaxCpus = 64;

}  // namespace keel::arch
