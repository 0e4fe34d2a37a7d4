// FileBuffers: the memory objects that clients attached to a file system for it to put file data into.
//
// A buffer's number is random, so that nobody writes into another's. When all places are taken, the buffer that was
// used longest ago makes room; its owner is then answered BadState and attaches again, as after a restart of the file
// system. A client that revokes its buffer makes the file system fault and restart: see docs/subsystems/files.md.
#pragma once

#include <array>
#include <span>

#include "user/runtime/memory.h"
#include "user/runtime/stubs.h"

namespace keel {

class FileBuffers {
 public:
  static constexpr u64 kMaxBytes = u64{4} << 20;

  Result<u64> attach(const Cap& memory) {
    Mapping mapping = TRY(Mapping::map(memory.get(), Access::read_write));
    if (mapping.size() > kMaxBytes) return Status::too_big;
    Slot* oldest = &slots_[0];
    for (Slot& slot : slots_) {
      if (slot.used < oldest->used) oldest = &slot;
    }
    const u64 number = TRY(sys::random_get(1)).r0 | 1;
    *oldest = Slot{number, ++clock_, std::move(mapping)};
    return number;
  }

  // Errors: bad_state (no such buffer), out_of_range.
  Result<std::span<std::byte>> range(u64 number, u64 offset, u64 length) {
    for (Slot& slot : slots_) {
      if (slot.number != number || number == 0) continue;
      slot.used = ++clock_;
      const u64 size = slot.mapping.size();
      if (offset > size || length > size - offset) return Status::out_of_range;
      return slot.mapping.bytes().subspan(offset, length);
    }
    return Status::bad_state;
  }

 private:
  struct Slot {
    u64 number = 0;
    u64 used = 0;
    Mapping mapping;
  };
  std::array<Slot, 64> slots_;
  u64 clock_ = 0;
};

// Badges of ports that FileSystem.open() gives: this bit and the inode. Sessions of the service manager have small
// badges.
inline constexpr u64 kFileBadge = u64{1} << 62;
inline u64 node_of(u64 badge, u64 inode) { return (badge & kFileBadge) != 0 ? badge & ~kFileBadge : inode; }

// A port for one node, from the file system's own.
inline Result<Cap> open_node(CapIndex port, u64 inode) {
  constexpr Rights kRights = rights::transfer | rights::derive | rights::inspect | rights::port::call;
  return derive(port, kRights, kFileBadge | inode);
}

}  // namespace keel
