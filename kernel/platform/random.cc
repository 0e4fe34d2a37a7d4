#include "kernel/platform/random.h"

#include <bit>

#include "kernel/core/cpu.h"

namespace keel {
namespace {

void quarter_round(ChachaBlock& x, u32 a, u32 b, u32 c, u32 d) {
  x[a] += x[b], x[d] = std::rotl(x[d] ^ x[a], 16);
  x[c] += x[d], x[b] = std::rotl(x[b] ^ x[c], 12);
  x[a] += x[b], x[d] = std::rotl(x[d] ^ x[a], 8);
  x[c] += x[d], x[b] = std::rotl(x[b] ^ x[c], 7);
}

}  // namespace

ChachaBlock chacha20_block(const std::array<u32, 8>& key, u32 counter, const std::array<u32, 3>& nonce) {
  ChachaBlock start{0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
  for (u32 i = 0; i < 8; ++i) start[4 + i] = key[i];
  start[12] = counter;
  for (u32 i = 0; i < 3; ++i) start[13 + i] = nonce[i];
  ChachaBlock x = start;
  for (u32 round = 0; round < 10; ++round) {
    for (u32 i = 0; i < 4; ++i) quarter_round(x, i, 4 + i, 8 + i, 12 + i);
    for (u32 i = 0; i < 4; ++i) quarter_round(x, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
  }
  for (u32 i = 0; i < 16; ++i) x[i] += start[i];
  return x;
}

void RandomGenerator::seed(Cpu& cpu, const std::array<u64, 4>& entropy) {
  LockGuard guard(cpu, lock_);
  for (u32 i = 0; i < 8; ++i) key_[i] ^= u32(entropy[i / 2] >> (i % 2 * 32));
  used_ = 8;
}

u64 RandomGenerator::next(Cpu& cpu) {
  LockGuard guard(cpu, lock_);
  if (used_ == 8) {
    ChachaBlock block = chacha20_block(key_, 0, {});
    for (u32 i = 0; i < 8; ++i) {
      key_[i] = block[i];
      ready_[i] = block[8 + i];
    }
    used_ = 0;
  }
  u64 value = u64{ready_[used_]} | u64{ready_[used_ + 1]} << 32;
  ready_[used_] = ready_[used_ + 1] = 0;
  used_ += 2;
  return value;
}

}  // namespace keel
