// TextHash: compares the kernel's code and constants with what they were at the end of start-up, page by page, by
// SHA-256 (BearSSL). A page that differs is a panic: what the kernel would do next is anybody's guess.
//
// Invariants   I1 digests_[i] is that of page i when initialise() ran; nobody writes it afterwards.
// Locks        none: the first CPU does all.
// Costs        a step hashes 64 bytes, or ends a page: about 4,000 instructions, every half a millisecond while a
// comparison
//              runs. At start-up 62 instructions a byte, all at once.
// See          text_hash_test.cc
#pragma once

#include <bearssl_hash.h>

#include <array>
#include <span>

#include "kernel/platform/periodic.h"

namespace keel {

class Platform;

class TextHash final : public Periodic {
 public:
  static constexpr usize kBytesPerStep = 64;
  explicit TextHash(Platform& platform) : platform_(platform) {}

  // Takes the digests, in frames of its own. Errors: no_memory.
  Result<void> initialise(Cpu& cpu);

 private:
  using Digest = std::array<std::byte, 32>;
  bool wanted(Cpu& cpu) const override;
  u64 run(Cpu& cpu) override;
  // Of the page that hash_ has taken in.
  Digest finish_page();

  Platform& platform_;
  std::span<Digest> digests_;
  br_sha256_context hash_;
  bool page_is_full_ = false;  // hash_ is to be compared
  usize offset_ = 0;           // how far the comparison is
  u64 next_round_ns_ = 0;      // when the next begins
};

}  // namespace keel
