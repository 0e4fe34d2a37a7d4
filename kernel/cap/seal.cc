#include "kernel/cap/seal.h"

#include <string.h>

#include "kernel/platform/random.h"

namespace keel {

void Sealer::initialise(Cpu& cpu, RandomGenerator& random) {
  u64 key[4];
  for (u64& word : key) word = random.next(cpu);
  for (u64& word : nonce_) word = random.next(cpu);
  br_hmac_key_init(&key_, &br_sha256_vtable, key, sizeof key);
}

std::array<u64, 2> Sealer::mac(const SealedToken& token, u64 domain) const {
  const u64 text[] = {nonce_[0], nonce_[1], domain, token.process, token.index, token.object};
  br_hmac_context context;
  br_hmac_init(&context, &key_, sizeof(token.mac));
  br_hmac_update(&context, text, sizeof text);
  std::array<u64, 2> out;
  br_hmac_out(&context, out.data());
  return out;
}

bool Sealer::is_genuine(const SealedToken& token, u64 domain) const {
  const std::array<u64, 2> expected = mac(token, domain);
  return ((expected[0] ^ token.mac[0]) | (expected[1] ^ token.mac[1])) == 0;
}

}  // namespace keel
