// FaultInjector: makes the nth allocation from now fail, so that tests reach every error path (law 5).
// Compiled in for the host and dev builds only; elsewhere should_fail() is the constant false.
#pragma once

#include "base/atomic.h"
#include "kernel/features.h"

namespace keel {

class FaultInjector {
 public:
  // The nth allocation of frames or heap memory from now fails once with no_memory; 0 switches this off.
  void fail_after(u64 n) { countdown_.store(n, kRelaxed); }
  // True if the failure asked for has not happened yet.
  bool armed() const { return countdown_.load(kRelaxed) != 0; }
  bool should_fail() {
    if constexpr (!kDebugAsserts) return false;
    if (countdown_.load(kRelaxed) == 0) [[likely]]
      return false;
    return countdown_.fetch_sub(1, kRelaxed) == 1;
  }

 private:
  Atomic<u64> countdown_{0};
};

}  // namespace keel
