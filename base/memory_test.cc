// The freestanding memory functions against the host's, for every small size, alignment and overlap.
#include <gtest/gtest.h>
#include <string.h>

#include <array>
#include <numeric>

// Compiled under other names: the host and its sanitizers keep their own.
#define memcpy tested_memcpy
#define memmove tested_memmove
#define memset tested_memset
#define memcmp tested_memcmp
#include "base/freestanding/x86_64/memory.cc"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp

namespace {

constexpr usize kBytes = 512;
constexpr usize kMaxSize = 200;
using Buffer = std::array<u8, kBytes>;

Buffer numbered() {
  Buffer buffer;
  std::iota(buffer.begin(), buffer.end(), u8{1});
  return buffer;
}

TEST(Memory, CopyMovesExactlyTheBytesAskedFor) {
  for (usize n = 0; n <= kMaxSize; ++n) {
    for (usize to = 0; to < 9; ++to) {
      for (usize from = 0; from < 9; ++from) {
        Buffer source = numbered(), want{}, got{};
        memcpy(want.data() + to, source.data() + from, n);
        ASSERT_EQ(tested_memcpy(got.data() + to, source.data() + from, n), got.data() + to);
        ASSERT_EQ(got, want) << n << " bytes from " << from << " to " << to;
      }
    }
  }
}

TEST(Memory, MoveAcceptsEveryOverlap) {
  for (usize n = 0; n <= kMaxSize; ++n) {
    for (usize to = 0; to <= 80; ++to) {
      Buffer want = numbered(), got = numbered();
      constexpr usize kFrom = 40;
      memmove(want.data() + to, want.data() + kFrom, n);
      ASSERT_EQ(tested_memmove(got.data() + to, got.data() + kFrom, n), got.data() + to);
      ASSERT_EQ(got, want) << n << " bytes to " << to;
    }
  }
}

TEST(Memory, SetFillsExactlyTheBytesAskedFor) {
  for (usize n = 0; n <= kMaxSize; ++n) {
    for (usize to = 0; to < 9; ++to) {
      Buffer want = numbered(), got = numbered();
      memset(want.data() + to, 0xa5, n);
      ASSERT_EQ(tested_memset(got.data() + to, 0x1a5, n), got.data() + to);
      ASSERT_EQ(got, want) << n << " bytes to " << to;
    }
  }
}

TEST(Memory, CompareOrdersByTheFirstDifference) {
  for (usize n = 1; n <= 40; ++n) {
    for (usize at = 0; at < n; ++at) {
      Buffer a = numbered(), b = numbered();
      b[at] = static_cast<u8>(a[at] + 0x80);
      b[at + 1] = 0;  // decides nothing
      ASSERT_EQ(tested_memcmp(a.data(), b.data(), n) < 0, a[at] < b[at]);
      ASSERT_EQ(tested_memcmp(b.data(), a.data(), n) < 0, b[at] < a[at]);
      ASSERT_EQ(tested_memcmp(a.data(), b.data(), at), 0);
    }
  }
}

}  // namespace
