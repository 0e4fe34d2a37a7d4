// memcpy and friends for x86_64.
//
// Up to 32 bytes: overlapping loads and stores, everything loaded before anything is stored, so they also serve
// memmove. Above: whole words with `rep movsq/stosq`, and the last word once more, unaligned. Never `rep movsb/stosb`:
// emulated machines, on which Keel counts instructions, execute those byte by byte.
#include <string.h>

#include "base/types.h"

namespace {

using keel::u16;
using keel::u32;
using keel::u64;
using keel::u8;
using keel::usize;

template <class T>
T load(const u8* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof(T));  // becomes one move
  return value;
}
template <class T>
void store(u8* to, T value) {
  __builtin_memcpy(to, &value, sizeof(T));
}

// Copies 1 to 32 bytes that may overlap in any way.
inline void copy_small(u8* to, const u8* from, usize n) {
  if (n >= 16) {
    u64 a = load<u64>(from), b = load<u64>(from + 8), c = load<u64>(from + n - 16), d = load<u64>(from + n - 8);
    store(to, a), store(to + 8, b), store(to + n - 16, c), store(to + n - 8, d);
  } else if (n >= 8) {
    u64 a = load<u64>(from), b = load<u64>(from + n - 8);
    store(to, a), store(to + n - 8, b);
  } else if (n >= 4) {
    u32 a = load<u32>(from), b = load<u32>(from + n - 4);
    store(to, a), store(to + n - 4, b);
  } else if (n >= 2) {
    u16 a = load<u16>(from), b = load<u16>(from + n - 2);
    store(to, a), store(to + n - 2, b);
  } else {
    *to = *from;
  }
}

// Copies more than 8 bytes upwards; `to` may overlap `from` from below.
inline void copy_words_up(u8* to, const u8* from, usize n) {
  u64 last = load<u64>(from + n - 8);
  u8* end = to + n;
  usize words = n / 8;
  // SAFETY: reads and writes `words` words inside the n bytes that the caller vouches for; the direction flag is clear
  // by ABI.
  asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
  store(end - 8, last);
}

}  // namespace

extern "C" {

void* memcpy(void* __restrict to, const void* __restrict from, usize n) {
  u8* t = static_cast<u8*>(to);
  const u8* f = static_cast<const u8*>(from);
  if (n > 32) {
    copy_words_up(t, f, n);
  } else if (n != 0) {
    copy_small(t, f, n);
  }
  return to;
}

void* memmove(void* to, const void* from, usize n) {
  u8* t = static_cast<u8*>(to);
  const u8* f = static_cast<const u8*>(from);
  if (n <= 32) {
    if (n != 0) copy_small(t, f, n);
  } else if (static_cast<usize>(t - f) >= n) {  // also true when `to` lies below `from`
    copy_words_up(t, f, n);
  } else {
    u64 first = load<u64>(f);
    usize left = n;
    for (; left >= 32; left -= 32) {
      u64 a = load<u64>(f + left - 8), b = load<u64>(f + left - 16), c = load<u64>(f + left - 24),
          d = load<u64>(f + left - 32);
      store(t + left - 8, a), store(t + left - 16, b), store(t + left - 24, c), store(t + left - 32, d);
    }
    for (; left >= 8; left -= 8) store(t + left - 8, load<u64>(f + left - 8));
    store(t, first);
  }
  return to;
}

void* memset(void* to, int value, usize n) {
  u8* t = static_cast<u8*>(to);
  u64 pattern = static_cast<u8>(value) * u64{0x0101010101010101};
  if (n >= 8) {
    u8* end = t + n;
    usize words = n / 8;
    if (words <= 8) {
      for (; words != 0; --words, t += 8) store(t, pattern);
    } else {
      // SAFETY: writes `words` words inside the n bytes that the caller vouches for; the direction flag is clear by
      // ABI.
      asm volatile("rep stosq" : "+D"(t), "+c"(words) : "a"(pattern) : "memory");
    }
    store(end - 8, pattern);
  } else {
    for (usize i = 0; i < n; ++i) t[i] = static_cast<u8>(value);
  }
  return to;
}

int memcmp(const void* a, const void* b, usize n) {
  const u8* x = static_cast<const u8*>(a);
  const u8* y = static_cast<const u8*>(b);
  while (n >= 8) {
    u64 p = load<u64>(x), q = load<u64>(y);
    if (p != q) {
      p = __builtin_bswap64(p);  // the first byte in memory decides
      q = __builtin_bswap64(q);
      return p < q ? -1 : 1;
    }
    x += 8, y += 8, n -= 8;
  }
  for (; n != 0; --n, ++x, ++y) {
    if (*x != *y) return *x < *y ? -1 : 1;
  }
  return 0;
}

}  // extern "C"
