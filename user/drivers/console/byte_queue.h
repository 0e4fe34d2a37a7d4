// ByteQueue: bytes in memory that survives the process. Whoever adopts it repairs what makes no sense; a death between
// two stores loses or repeats at most what was being added or taken.
#pragma once

#include "base/types.h"

namespace keel::console {

template <u32 N>
struct ByteQueue {
  static_assert((N & (N - 1)) == 0);
  u32 head;
  u32 tail;
  u8 bytes[N];

  void adopt() {
    if (tail - head > N) head = tail = 0;
  }
  u32 size() const { return tail - head; }
  u32 room() const { return N - size(); }
  // The caller has checked room() or size().
  void push(u8 byte) {
    bytes[tail % N] = byte;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    ++tail;
  }
  u8 pop() {
    const u8 byte = bytes[head % N];
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    ++head;
    return byte;
  }
};

}  // namespace keel::console
