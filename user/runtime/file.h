// Files and directories, for programs that hold the capability `vfs`.
//
//   File file = TRY(File::open("/disk/a.txt"));
//   for (;;) { auto piece = TRY(file.next()); if (piece.empty()) break; ... }
//
// An open file survives restarts of the vfs, of its file system and of the disk's driver: every request is repeated
// until a successor answers, and the buffer is attached again when the successor does not know it.
//
// Costs        next(): one call per kFileBufferBytes, no copy. read(), pread(): a copy besides; up to 3072 bytes at a
// time
//              go without the buffer if nothing larger was read before.
#pragma once

#include <span>
#include <string_view>

#include "idl/vfs.h"
#include "user/runtime/dir_entries.h"
#include "user/runtime/memory.h"

namespace keel {

inline constexpr u64 kFileBufferBytes = 256 * 1024;

class File {
 public:
  File() = default;
  // Follows links. Errors: not_found, is_a_directory and the other errors of a path.
  static Result<File> open(std::string_view path);

  const NodeInfo& info() const { return info_; }
  u64 size() const { return info_.size; }
  u64 position() const { return position_; }
  void seek(u64 position) { position_ = position; }

  // Up to out.size() bytes at the position, which moves on; 0 at the end.
  Result<usize> read(std::span<std::byte> out);
  // As read(), at an offset; the position stays.
  Result<usize> pread(u64 offset, std::span<std::byte> out);
  // The next bytes at the position, in place, valid until the next call; empty at the end.
  Result<std::span<const std::byte>> next();

 private:
  Result<void> fill(u64 offset);
  Result<void> attach();

  Cap file_system_;
  NodeInfo info_;
  u64 position_ = 0;
  Mapping buffer_;
  Cap buffer_memory_;
  u64 buffer_number_ = 0;
  u64 filled_at_ = 0;  // file offset of the buffer's first byte
  u64 filled_ = 0;     // valid bytes in it
};

// Links are not followed at the end of the path; resolve() follows them.
Result<NodeInfo> stat_path(std::string_view path);
Result<NodeInfo> resolve_path(std::string_view path);
Result<FixedString<1024>> read_link(std::string_view path);

// Calls take(const DirectoryEntry&) -> bool for each entry but "." and ".."; false stops. A directory that changes
// meanwhile may give entries twice or not at all.
template <class Take>
Result<void> for_each_in_directory(std::string_view path, Take&& take) {
  const VfsClient vfs(TRY(require_capability("vfs")));
  u64 cookie = 0;
  for (bool more = true; more;) {
    const FixedBytes<3072> packed = TRY(vfs.read_dir(path, cookie));
    if (packed.empty()) return {};
    TRY(for_each_entry(packed.span(), [&](const DirectoryEntry& entry) {
      cookie = entry.cookie;
      more = take(entry);
      return more;
    }));
  }
  return {};
}

// What a failure with a path means, for a person: "not found", or why the file system behind the path cannot be used.
FixedString<160> explain_path_error(std::string_view path, Status status);

std::string_view type_name(FileType type);

}  // namespace keel
