// Mapping: a range of this process's memory that is unmapped when the owner goes. The memory object's capability is not
// needed to keep it mapped.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "abi/types.h"
#include "base/result.h"
#include "user/runtime/capabilities.h"

namespace keel {

enum class Access : u8 { read, read_write, read_execute };

class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping() { reset(); }

  // Maps pages of a memory object; pages 0: all from first_page on.
  static Result<Mapping> map(CapIndex memory, Access access, u64 first_page = 0, u64 pages = 0);
  // Fresh zeroed memory. With `memory`, its capability is handed out, to share it.
  static Result<Mapping> create(u64 pages, Cap* memory = nullptr);
  // A copy of that memory as it is now, for reading and writing. What neither side writes to stays shared.
  static Result<Mapping> clone(CapIndex original, Cap* memory = nullptr);

  std::byte* data() const { return address_; }
  u64 size() const { return bytes_; }
  std::span<std::byte> bytes() const { return {address_, bytes_}; }
  explicit operator bool() const { return address_ != nullptr; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(address_);
  }
  void reset();
  // Leaves it mapped for good.
  std::span<std::byte> release() { return {std::exchange(address_, nullptr), std::exchange(bytes_, 0)}; }

 private:
  Mapping(std::byte* address, u64 bytes) : address_(address), bytes_(bytes) {}
  std::byte* address_ = nullptr;
  u64 bytes_ = 0;
};

}  // namespace keel
