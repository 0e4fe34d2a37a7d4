// The primitives Keel takes from BearSSL, against published vectors.
#include <bearssl_block.h>
#include <bearssl_hash.h>
#include <bearssl_hmac.h>
#include <bearssl_rand.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace {

std::string hex(const unsigned char* bytes, size_t size) {
  std::string text;
  for (size_t i = 0; i < size; ++i) {
    text += "0123456789abcdef"[bytes[i] >> 4];
    text += "0123456789abcdef"[bytes[i] & 15];
  }
  return text;
}

std::string sha256(const std::string& text) {
  br_sha256_context context;
  br_sha256_init(&context);
  br_sha256_update(&context, text.data(), text.size());
  unsigned char out[br_sha256_SIZE];
  br_sha256_out(&context, out);
  return hex(out, sizeof out);
}

// FIPS 180-4, examples.
TEST(Bearssl, Sha256) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// RFC 4231, test case 2.
TEST(Bearssl, HmacSha256) {
  br_hmac_key_context key;
  br_hmac_key_init(&key, &br_sha256_vtable, "Jefe", 4);
  br_hmac_context context;
  br_hmac_init(&context, &key, 0);
  br_hmac_update(&context, "what do ya want for nothing?", 28);
  unsigned char out[32];
  EXPECT_EQ(br_hmac_out(&context, out), 32u);
  EXPECT_EQ(hex(out, 32), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

// RFC 8439, 2.3.2.
TEST(Bearssl, ChaCha20) {
  unsigned char key[32];
  for (unsigned char i = 0; i < 32; ++i) key[i] = i;
  const unsigned char nonce[12] = {0, 0, 0, 9, 0, 0, 0, 0x4a, 0, 0, 0, 0};
  unsigned char stream[64] = {};
  EXPECT_EQ(br_chacha20_ct_run(key, nonce, 1, stream, sizeof stream), 2u);
  EXPECT_EQ(hex(stream, 16), "10f1e7e4d13b5915500fdd1fa32071c4");
}

TEST(Bearssl, HmacDrbgIsAFunctionOfItsSeed) {
  unsigned char first[48];
  unsigned char second[48];
  br_hmac_drbg_context drbg;
  br_hmac_drbg_init(&drbg, &br_sha256_vtable, "seed", 4);
  br_hmac_drbg_generate(&drbg, first, sizeof first);
  br_hmac_drbg_init(&drbg, &br_sha256_vtable, "seed", 4);
  br_hmac_drbg_generate(&drbg, second, sizeof second);
  EXPECT_EQ(std::memcmp(first, second, sizeof first), 0);
  br_hmac_drbg_update(&drbg, "more", 4);
  br_hmac_drbg_generate(&drbg, second, sizeof second);
  EXPECT_NE(std::memcmp(first, second, sizeof first), 0);
}

}  // namespace
