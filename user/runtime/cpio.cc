#include "user/runtime/cpio.h"

#include "base/byte_reader.h"

namespace keel {
namespace {

constexpr u64 kHeaderBytes = 110;
constexpr std::string_view kTrailer = "TRAILER!!!";

// The 13 fields behind the magic number, 8 hexadecimal digits each.
enum Field : u32 {
  kInode,
  kMode,
  kUid,
  kGid,
  kLinks,
  kMtime,
  kFileSize,
  kDevMajor,
  kDevMinor,
  kRdevMajor,
  kRdevMinor,
  kNameSize
};

struct Parsed {
  CpioEntry entry;
  bool trailer = false;
  u64 next = 0;  // offset of the following header
};

Result<u32> hex_field(std::string_view header, Field field) {
  u32 value = 0;
  for (const char c : header.substr(6 + 8 * field, 8)) {
    u32 digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<u32>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<u32>(c - 'a') + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<u32>(c - 'A') + 10;
    } else {
      return Status::corrupt;
    }
    value = value << 4 | digit;
  }
  return value;
}

std::string_view without_root(std::string_view path) {
  while (path.starts_with('/') || path.starts_with("./")) path.remove_prefix(path[0] == '/' ? 1 : 2);
  return path;
}

Result<CpioType> type_of_mode(u32 mode) {
  switch (mode & 0170000) {
    case 0100000:
      return CpioType::file;
    case 0040000:
      return CpioType::directory;
    case 0120000:
      return CpioType::symlink;
    default:
      return Status::not_supported;
  }
}

Result<Parsed> parse_at(const ByteReader& archive, u64 offset) {
  if (!archive.contains(offset, kHeaderBytes)) return Status::corrupt;
  const std::string_view header(reinterpret_cast<const char*>(archive.bytes().data()) + offset, kHeaderBytes);
  if (!header.starts_with("070701")) return header.starts_with("0707") ? Status::not_supported : Status::corrupt;
  const u64 name_size = TRY(hex_field(header, kNameSize));
  const u64 file_size = TRY(hex_field(header, kFileSize));
  const u32 mode = TRY(hex_field(header, kMode));
  const u64 name_at = offset + kHeaderBytes;
  if (name_size == 0 || name_size > kMaxCpioNameField || !archive.contains(name_at, name_size)) return Status::corrupt;
  const std::string_view field(reinterpret_cast<const char*>(archive.bytes().data()) + name_at, name_size);
  if (field.back() != '\0') return Status::corrupt;
  const std::string_view name = field.substr(0, field.find('\0'));
  if (name.empty() || name.size() > kMaxCpioNameBytes) return Status::corrupt;

  Parsed parsed;
  if (name == kTrailer) {
    parsed.trailer = true;
    return parsed;
  }
  const u64 data_at = align_up(name_at + name_size, 4);
  if (!archive.contains(data_at, file_size)) return Status::corrupt;
  parsed.entry.type = TRY(type_of_mode(mode));
  if (parsed.entry.type == CpioType::file && TRY(hex_field(header, kLinks)) > 1) return Status::not_supported;
  parsed.entry.name = without_root(name);
  if (parsed.entry.name.empty()) return Status::corrupt;
  parsed.entry.mode = static_cast<u16>(mode & 07777);
  parsed.entry.mtime = TRY(hex_field(header, kMtime));
  parsed.entry.data = archive.bytes().subspan(data_at, file_size);
  parsed.next = align_up(data_at + file_size, 4);
  return parsed;
}

}  // namespace

Result<CpioArchive> CpioArchive::open(std::span<const std::byte> archive) {
  CpioArchive opened;
  opened.archive_ = archive;
  const ByteReader reader(archive);
  for (u64 offset = 0;;) {
    const Parsed parsed = TRY(parse_at(reader, offset));
    if (parsed.trailer) return opened;
    if (++opened.count_ > kMaxCpioEntries) return Status::not_supported;
    offset = parsed.next;
  }
}

Result<CpioEntry> CpioArchive::find(std::string_view path) const {
  const std::string_view wanted = without_root(path);
  for (const CpioEntry& entry : *this) {
    if (entry.name == wanted) return entry;
  }
  return Status::not_found;
}

CpioArchive::Iterator::Iterator(std::span<const std::byte> archive, usize left) : archive_(archive), left_(left) {
  if (left_ > 0) load();
}

CpioArchive::Iterator& CpioArchive::Iterator::operator++() {
  if (--left_ > 0) load();
  return *this;
}

void CpioArchive::Iterator::load() {
  // open() has parsed the same bytes.
  const Parsed parsed = MUST(parse_at(ByteReader(archive_), offset_));
  entry_ = parsed.entry;
  offset_ = parsed.next;
}

}  // namespace keel
