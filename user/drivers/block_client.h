#pragma once
#include <span>
#include "user/runtime/capabilities.h"
namespace keel {
class BlockClient {
 public:
  static Result<BlockClient> connect(CapIndex) { return Status::not_supported; }
  Result<void> read(u64, std::span<std::byte>) { return Status::not_supported; }
  u64 size() const { return 0; }
};
}
