// RandomGenerator: the kernel's cryptographic random numbers: ChaCha20 (RFC 8439) in the fast-key-erasure construction
// (Bernstein, 2017): each block replaces the key, so that what was given out cannot be computed from what is kept.
#pragma once

#include <array>

#include "base/types.h"
#include "kernel/core/lock.h"

namespace keel {

using ChachaBlock = std::array<u32, 16>;
// One block of the ChaCha20 key stream, RFC 8439 section 2.3.
ChachaBlock chacha20_block(const std::array<u32, 8>& key, u32 counter, const std::array<u32, 3>& nonce);

class RandomGenerator {
 public:
  void seed(Cpu& cpu, const std::array<u64, 4>& entropy);
  u64 next(Cpu& cpu);

 private:
  SpinLock lock_{LockRank::random, "random"};
  std::array<u32, 8> key_ GUARDED_BY(lock_){};
  std::array<u32, 8> ready_ GUARDED_BY(lock_){};
  u32 used_ GUARDED_BY(lock_) = 8;
};

}  // namespace keel
