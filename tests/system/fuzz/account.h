// What the fuzzer and its workers share.
#pragma once

#include "base/atomic.h"

namespace keel::fuzz {

struct Account {
  Atomic<u64> calls{0};
  Atomic<u64> seed{0};
  Atomic<u32> stop{0};
  Atomic<u64> seen[256];  // by call: bit n when status n came back
};

}  // namespace keel::fuzz
