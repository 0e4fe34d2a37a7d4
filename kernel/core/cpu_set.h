// CpuSet: a set of CPUs that any CPU may change at any time.
//
// Costs        add and remove one locked instruction; a walk looks at kMaxCpus / 64 words and then at the members.
#pragma once

#include <arch/limits.h>

#include "base/atomic.h"
#include "base/types.h"

namespace keel {

// CPUs that the kernel runs, at most: 64 on hardware, more in the simulator.
inline constexpr u32 kMaxCpus = arch::kMaxCpus;

class CpuSet {
 public:
  // Sequentially consistent, so that "I set my bit, then look" and "I changed it, then look at the bits" cannot both
  // miss.
  void add(u32 cpu) { words_[cpu / 64].fetch_or(u64{1} << cpu % 64, kSeqCst); }
  void remove(u32 cpu) { words_[cpu / 64].fetch_and(~(u64{1} << cpu % 64), kSeqCst); }
  bool has(u32 cpu) const { return (words_[cpu / 64].load(kSeqCst) >> cpu % 64 & 1) != 0; }
  bool empty() const {
    for (const auto& word : words_) {
      if (word.load(kSeqCst) != 0) return false;
    }
    return true;
  }
  bool has_others_than(u32 cpu) const {
    if constexpr (kWords == 1) return (words_[0].load(kSeqCst) & ~(u64{1} << cpu % 64)) != 0;
    for (u32 i = 0; i < kWords; ++i) {
      const u64 own = i == cpu / 64 ? u64{1} << cpu % 64 : 0;
      if ((words_[i].load(kSeqCst) & ~own) != 0) return true;
    }
    return false;
  }
  // Calls f(cpu) for each member there is when its word is read.
  template <class F>
  void for_each(F f) const {
    for (u32 i = 0; i < kWords; ++i) {
      for (u64 rest = words_[i].load(kSeqCst); rest != 0; rest &= rest - 1) f(i * 64 + u32(__builtin_ctzll(rest)));
    }
  }
  // The same, emptying the set.
  template <class F>
  void take_each(F f) {
    for (u32 i = 0; i < kWords; ++i) {
      if (words_[i].load(kRelaxed) == 0) continue;
      for (u64 rest = words_[i].exchange(0, kSeqCst); rest != 0; rest &= rest - 1) {
        f(i * 64 + u32(__builtin_ctzll(rest)));
      }
    }
  }

 private:
  static constexpr u32 kWords = (kMaxCpus + 63) / 64;
  Atomic<u64> words_[kWords];
};

}  // namespace keel
