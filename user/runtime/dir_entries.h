// The form in which read_dir() of FileSystem and Vfs packs directory entries: little-endian, unaligned, back to back:
//   inode u64, cookie u64 (read_dir() from here continues after this entry), type u8, name length u8, name
#pragma once

#include <cstring>
#include <string_view>

#include "base/byte_reader.h"
#include "base/fixed.h"

namespace keel {

// NodeInfo::type and DirectoryEntry::type.
enum class FileType : u8 { unknown, regular, directory, symlink, character_device, block_device, fifo, socket };

struct DirectoryEntry {
  u64 inode = 0;
  u64 cookie = 0;
  FileType type = FileType::unknown;
  std::string_view name;  // at most 255 bytes
};

inline constexpr usize kEntryHeaderBytes = 18;

// False: no room; nothing was added.
template <usize N>
bool append_entry(FixedBytes<N>& out, const DirectoryEntry& entry) {
  if (entry.name.size() > 255 || out.room() < kEntryHeaderBytes + entry.name.size()) return false;
  std::byte header[kEntryHeaderBytes];
  std::memcpy(header, &entry.inode, 8);
  std::memcpy(header + 8, &entry.cookie, 8);
  header[16] = static_cast<std::byte>(entry.type);
  header[17] = static_cast<std::byte>(entry.name.size());
  return out.append(header) && out.append(std::as_bytes(std::span(entry.name.data(), entry.name.size())));
}

// Calls take(const DirectoryEntry&) -> bool for each; false stops. Errors: corrupt.
template <class Take>
Result<void> for_each_entry(std::span<const std::byte> packed, Take&& take) {
  const ByteReader in(packed);
  for (u64 at = 0; at < packed.size();) {
    const Result<std::span<const std::byte>> header = in.subspan(at, kEntryHeaderBytes);
    if (!header.has_value()) return Status::corrupt;
    const u8 length = static_cast<u8>((*header)[17]);
    const u8 type = static_cast<u8>((*header)[16]);
    const Result<std::span<const std::byte>> name = in.subspan(at + kEntryHeaderBytes, length);
    if (!name.has_value()) return Status::corrupt;
    const DirectoryEntry entry{TRY(in.read_u64(at)),
                               TRY(in.read_u64(at + 8)),
                               type <= 7 ? static_cast<FileType>(type) : FileType::unknown,
                               {reinterpret_cast<const char*>(name->data()), name->size()}};
    if (!take(entry)) return {};
    at += kEntryHeaderBytes + length;
  }
  return {};
}

}  // namespace keel
