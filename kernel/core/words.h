// WordTable: threads that wait on a word of memory (word_wait), found by (memory object, offset): the same word
// wherever it is mapped.
//
// Locks        one per bucket (rank waitable); the word is read under it, so that a wake-up between the waiter's look
//              and its queueing cannot be lost.
#pragma once

#include "kernel/core/shared_queue.h"

namespace keel {

struct WordRef;

class WordTable {
 public:
  static constexpr u64 kMostWoken = 32;
  // Queues the current thread unless the word differs. Errors: would_block (it differs), timed_out, cancelled.
  Result<void> wait(Cpu& cpu, Thread& thread, const WordRef& word, u32 expected, Deadline deadline);
  // Wakes up to `count` waiters of the word, kMostWoken at most; answers how many.
  u64 wake(Cpu& cpu, const WordRef& word, u64 count);

 private:
  static constexpr u32 kBuckets = 64;
  struct Bucket {
    SharedQueue queue{"word bucket"};
  };
  SharedQueue& bucket(const WordRef& word);
  Bucket buckets_[kBuckets];
};

}  // namespace keel
