#include "user/runtime/file.h"

#include <cstring>

#include "base/format.h"
#include "idl/file_system.h"
#include "user/runtime/stubs.h"

namespace keel {
namespace {

constexpr u32 kSmallBytes = 3072;
constexpr u32 kAttachTries = 16;

Result<VfsClient> vfs_client() { return VfsClient(TRY(require_capability("vfs"))); }

}  // namespace

Result<File> File::open(std::string_view path) {
  const VfsClient vfs = TRY(vfs_client());
  VfsResolveResult found = TRY(vfs.resolve(path));
  const FileType type = static_cast<FileType>(found.info.type);
  if (type == FileType::directory) return Status::is_a_directory;
  if (type != FileType::regular) return Status::not_supported;
  File file;
  file.file_system_ = std::move(found.file_system);
  file.info_ = found.info;
  return file;
}

Result<void> File::attach() {
  if (!buffer_) {
    buffer_memory_ = TRY(own(sys::memory_create(self().group, kFileBufferBytes / kPageSize, 0)));
    buffer_ = TRY(Mapping::map(buffer_memory_.get(), Access::read_write));
  }
  const FileSystemClient client(file_system_.get());
  for (u32 i = 1;; ++i) {
    const Result<u64> number = client.attach_buffer(buffer_memory_.get());
    if (number.has_value()) {
      buffer_number_ = *number;
      return {};
    }
    if (number.error() != Status::peer_died || i == kAttachTries) return number.error();
  }
}

// Afterwards the buffer holds the bytes from `offset` on, as many as fit or there are.
Result<void> File::fill(u64 offset) {
  const FileSystemClient client(file_system_.get());
  filled_ = 0;
  if (offset >= info_.size) return {};
  const u64 left = info_.size - offset;
  const u64 wanted = left < kFileBufferBytes ? left : kFileBufferBytes;
  for (u32 i = 1;; ++i) {
    if (buffer_number_ == 0) TRY(attach());
    const Result<u64> bytes = client.read(info_.inode, offset, wanted, buffer_number_, 0);
    if (bytes.has_value()) {
      if (*bytes > kFileBufferBytes) return Status::corrupt;
      filled_at_ = offset;
      filled_ = *bytes;
      return {};
    }
    // A successor knows neither our buffer nor, after many deaths, that we asked.
    const bool again = bytes.error() == Status::bad_state || bytes.error() == Status::peer_died;
    if (!again || i == kAttachTries) return bytes.error();
    if (bytes.error() == Status::bad_state) buffer_number_ = 0;
  }
}

Result<std::span<const std::byte>> File::next() {
  if (position_ < filled_at_ || position_ >= filled_at_ + filled_) TRY(fill(position_));
  if (filled_ == 0) return std::span<const std::byte>();
  const std::span<const std::byte> piece =
      buffer_.bytes().subspan(position_ - filled_at_, filled_at_ + filled_ - position_);
  position_ += piece.size();
  return piece;
}

Result<usize> File::pread(u64 offset, std::span<std::byte> out) {
  if (!buffer_ && out.size() <= kSmallBytes) {
    const FileSystemClient client(file_system_.get());
    const FixedBytes<3072> data = TRY(client.read_small(info_.inode, offset, static_cast<u32>(out.size())));
    if (data.size() > out.size()) return Status::corrupt;
    if (!data.empty()) std::memcpy(out.data(), data.data(), data.size());
    return data.size();
  }
  usize done = 0;
  while (done < out.size()) {
    const u64 at = offset + done;
    if (at < filled_at_ || at >= filled_at_ + filled_) TRY(fill(at));
    if (filled_ == 0) break;
    const u64 ready = filled_at_ + filled_ - at;
    const usize part = ready < out.size() - done ? ready : out.size() - done;
    std::memcpy(out.data() + done, buffer_.data() + (at - filled_at_), part);
    done += part;
  }
  return done;
}

Result<usize> File::read(std::span<std::byte> out) {
  const usize bytes = TRY(pread(position_, out));
  position_ += bytes;
  return bytes;
}

Result<NodeInfo> stat_path(std::string_view path) { return TRY(vfs_client()).stat(path); }
Result<NodeInfo> resolve_path(std::string_view path) { return TRY(TRY(vfs_client()).resolve(path)).info; }
Result<FixedString<1024>> read_link(std::string_view path) { return TRY(vfs_client()).read_link(path); }

FixedString<160> explain_path_error(std::string_view path, Status status) {
  FixedString<160> text;
  switch (status) {
    case Status::not_found:
      return "not found";
    case Status::not_a_directory:
      return "not a directory";
    case Status::is_a_directory:
      return "is a directory";
    case Status::too_many_links:
      return "too many symbolic links";
    case Status::too_big:
      return "the name is too long";
    default:
      break;
  }
  // Which mount is it on, and what is wrong there?
  if (const Result<VfsClient> vfs = vfs_client(); vfs.has_value()) {
    for (u64 cursor = 0;;) {
      const Result<VfsMountsResult> mount = vfs->mounts(cursor);
      if (!mount.has_value()) break;
      cursor = mount->next;
      const std::string_view at = mount->path;
      const bool inside =
          path.starts_with(at) && (at.ends_with('/') || path.size() == at.size() || path[at.size()] == '/');
      if (!inside || mount->problem.empty()) continue;
      format(text, "{} cannot be used: {}", at, mount->problem.view());
      return text;
    }
  }
  format(text, "{}", status_text(status));
  return text;
}

std::string_view type_name(FileType type) {
  switch (type) {
    case FileType::regular:
      return "file";
    case FileType::directory:
      return "directory";
    case FileType::symlink:
      return "symbolic link";
    case FileType::character_device:
      return "character device";
    case FileType::block_device:
      return "block device";
    case FileType::fifo:
      return "fifo";
    case FileType::socket:
      return "socket";
    case FileType::unknown:
      return "unknown";
  }
  return "unknown";
}

}  // namespace keel
