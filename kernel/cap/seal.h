// Sealer: turns a capability into a token, plain words that may be stored and sent, and tells tokens from forgeries.
// What a token names is looked up where it was: there is no table of tokens, and nothing to charge for.
//
// A token is (process, index, object, 128 bits of HMAC-SHA-256). The MAC is over these, the domain of the sealer
// capability, and a nonce of this boot; its key never leaves the kernel. An index with its generation names one
// capability for ever, so a token dies when that capability is deleted, moved or revoked.
//
// Locks        none: key and nonce are set at boot.
// Costs        a MAC is two blocks of SHA-256, about 8,000 instructions.
// See          docs/adr/0008-sealed-tokens.md, seal_test.cc
#pragma once

#include <array>

#include <bearssl_hmac.h>

#include "kernel/object/singletons.h"

namespace keel {

class RandomGenerator;

struct SealedToken {
  u64 process = 0;  // that holds the capability
  u64 index = 0;    // of it there
  u64 object = 0;
  std::array<u64, 2> mac{};
};

class Sealer final : public Authority<ObjectKind::sealer> {
 public:
  using Authority::Authority;
  // Before the first process runs; the generator has been seeded.
  void initialise(Cpu& cpu, RandomGenerator& random);
  // Fills in the MAC.
  void seal(SealedToken& token, u64 domain) const { token.mac = mac(token, domain); }
  // In constant time.
  bool is_genuine(const SealedToken& token, u64 domain) const;

 private:
  std::array<u64, 2> mac(const SealedToken& token, u64 domain) const;

  br_hmac_key_context key_{};
  u64 nonce_[2] = {};
};

}  // namespace keel
