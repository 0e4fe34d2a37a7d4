#include <arch/integrity.h>

#include <array>

namespace keel::arch {
namespace {

std::array<std::byte, 3 * kPageSize> image{};

}  // namespace

std::span<const std::byte> constant_image() { return image; }
bool is_in_direct_map(PhysAddr) { return true; }
void route_messages(Cpu&, bool) {}
bool has_crc32c() { return true; }
u32 crc32c(std::span<const u64> words) {
  u32 sum = ~u32{0};
  for (const u64 word : words) {
    for (u32 bit = 0; bit < 64; ++bit) {
      const u32 odd = (sum ^ u32(word >> bit)) & 1;
      sum = sum >> 1 ^ (0x82f63b78 & (0 - odd));  // RFC 3720, appendix B.4, reflected
    }
  }
  return ~sum;
}
void interrupt_unmaskably(Cpu&) {}
void change_constant(usize offset) { image[offset] ^= std::byte{1}; }

}  // namespace keel::arch
