// Physical memory of a machine that does not exist, with ACPI tables in it; for tests and fuzzers.
#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/acpi.h"

namespace keel::acpi {

class FakeMemory final : public PhysicalReader {
 public:
  explicit FakeMemory(usize size = 1 << 20) : bytes(size) {}
  Result<void> read(PhysAddr address, std::span<std::byte> out) override {
    ++reads;
    if (address.value > bytes.size() || out.size() > bytes.size() - address.value) return Status::bad_address;
    std::memcpy(out.data(), bytes.data() + address.value, out.size());
    return {};
  }
  template <class T>
  void put(u64 address, T value) {
    std::memcpy(bytes.data() + address, &value, sizeof value);
  }
  // Makes [address, address + length) add up to zero through the byte at `where`.
  void fix_sum(u64 address, u32 length, u64 where) {
    bytes[where] = std::byte{0};
    u8 total = 0;
    for (u32 i = 0; i < length; ++i) total = static_cast<u8>(total + static_cast<u8>(bytes[address + i]));
    bytes[where] = static_cast<std::byte>(-total);
  }
  void table(u64 address, const char* signature, u8 revision, std::string_view body) {
    std::memcpy(bytes.data() + address, signature, 4);
    put(address + 4, static_cast<u32>(36 + body.size()));
    put(address + 8, revision);
    std::memcpy(bytes.data() + address + 36, body.data(), body.size());
    fix_sum(address, static_cast<u32>(36 + body.size()), address + 9);
  }
  void rsdp(u64 address, u8 revision, u64 root) {
    std::memcpy(bytes.data() + address, "RSD PTR ", 8);
    put(address + 15, revision);
    if (revision < 2) {
      put(address + 16, static_cast<u32>(root));
    } else {
      put(address + 20, u32{36});
      put(address + 24, root);
    }
    fix_sum(address, 20, address + 8);
    if (revision >= 2) fix_sum(address, 36, address + 32);
  }

  std::vector<std::byte> bytes;
  u64 reads = 0;
};

template <class... T>
std::string packed(T... values) {
  std::string out;
  (out.append(reinterpret_cast<const char*>(&values), sizeof values), ...);
  return out;
}

}  // namespace keel::acpi
