// Applies the program's relative relocations. Runs before anything else: touches no global variable and calls nothing.
#include "base/types.h"

namespace keel {
namespace {

struct Dynamic {
  u64 tag;
  u64 value;
};
struct Rela {
  u64 offset;
  u64 info;
  u64 addend;
};

constexpr u64 kRela = 7;
constexpr u64 kRelaSize = 8;
constexpr u64 kRelrSize = 35;
constexpr u64 kRelr = 36;
constexpr u64 kRelativeX86_64 = 8;

}  // namespace

// See        Generic ABI, "Relative Relocation Table": an even entry is an address, an odd one a bitmap of the 63 words
//            that follow the last address.
extern "C" void keel_relocate(u64 base, const Dynamic* dynamic) {
  u64 rela = 0, rela_bytes = 0, relr = 0, relr_bytes = 0;
  for (; dynamic->tag != 0; ++dynamic) {
    if (dynamic->tag == kRela) rela = dynamic->value;
    if (dynamic->tag == kRelaSize) rela_bytes = dynamic->value;
    if (dynamic->tag == kRelr) relr = dynamic->value;
    if (dynamic->tag == kRelrSize) relr_bytes = dynamic->value;
  }
  const Rela* r = reinterpret_cast<const Rela*>(base + rela);
  for (u64 i = 0; i < rela_bytes / sizeof(Rela); ++i) {
    if ((r[i].info & 0xffffffff) != kRelativeX86_64) __builtin_trap();
    *reinterpret_cast<u64*>(base + r[i].offset) = base + r[i].addend;
  }
  const u64* entry = reinterpret_cast<const u64*>(base + relr);
  u64* where = nullptr;
  for (u64 i = 0; i < relr_bytes / sizeof(u64); ++i) {
    if ((entry[i] & 1) == 0) {
      where = reinterpret_cast<u64*>(base + entry[i]);
      *where++ += base;
      continue;
    }
    for (u32 bit = 0; bit < 63; ++bit) {
      if ((entry[i] >> (bit + 1) & 1) != 0) where[bit] += base;
    }
    where += 63;
  }
}

}  // namespace keel
