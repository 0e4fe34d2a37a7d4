#include "user/fs/ext2/ext2.h"

#include <cstring>
#include <new>
#include <utility>

#include "base/byte_reader.h"
#include "base/format.h"

namespace keel::ext2 {
namespace {

constexpr u64 kSuperblockOffset = 1024;
constexpr usize kSuperblockBytes = 1024;
constexpr u16 kMagic = 0xef53;
constexpr u32 kGroupDescriptorBytes = 32;
constexpr u32 kOldInodeBytes = 128;
constexpr u32 kDirEntryHeaderBytes = 8;
constexpr u64 kFastSymlinkBytes = 60;
constexpr u64 kMaxSymlinkBytes = 4096;

constexpr u32 kIncompatFileType = 0x2;
constexpr u32 kIncompatRecover = 0x4;
constexpr u32 kReadOnlyCompatBigalloc = 0x200;

constexpr u32 kInodeEncrypted = 0x800;
constexpr u32 kInodeExtents = 0x80000;
constexpr u32 kInodeInlineData = 0x10000000;

// Fields of the superblock, by offset.
struct Superblock {
  ByteReader bytes;
  u32 word(u32 offset) const { return *bytes.read_u32(offset); }  // offsets are constants inside kSuperblockBytes
  u16 half(u32 offset) const { return *bytes.read_u16(offset); }

  u32 inodes_count() const { return word(0); }
  u32 blocks_count() const { return word(4); }
  u32 free_blocks() const { return word(12); }
  u32 first_data_block() const { return word(20); }
  u32 log_block_size() const { return word(24); }
  u32 blocks_per_group() const { return word(32); }
  u32 inodes_per_group() const { return word(40); }
  u16 magic() const { return half(56); }
  u32 revision() const { return word(76); }
  u16 inode_size() const { return half(88); }
  u32 incompat() const { return word(96); }
  u32 ro_compat() const { return word(100); }
  static constexpr u32 kLabelOffset = 120;
};

// Names of the incompatible features, by bit.
constexpr const char* kIncompatNames[] = {"compression", "filetype", "needs_recovery", "journal_dev",
                                          "meta_bg",     "(32)",     "extents",        "64bit",
                                          "mmp",         "flex_bg",  "ea_inode"};

template <class... Args>
Status refuse(MountReason* reason, Status status, format_detail::FormatString<std::type_identity_t<Args>...> text,
              const Args&... args) {
  if (reason != nullptr) {
    reason->text = {};
    format_to(std::span<char>(reason->text).first(reason->text.size() - 1), text, args...);
  }
  return status;
}

FileType type_of_mode(u16 mode) {
  switch (mode >> 12) {
    case 0x1:
      return FileType::fifo;
    case 0x2:
      return FileType::character_device;
    case 0x4:
      return FileType::directory;
    case 0x6:
      return FileType::block_device;
    case 0x8:
      return FileType::regular;
    case 0xa:
      return FileType::symlink;
    case 0xc:
      return FileType::socket;
    default:
      return FileType::unknown;
  }
}

FileType type_of_entry(u8 code) {
  constexpr FileType kTypes[] = {FileType::unknown,          FileType::regular,      FileType::directory,
                                 FileType::character_device, FileType::block_device, FileType::fifo,
                                 FileType::socket,           FileType::symlink};
  return code < std::size(kTypes) ? kTypes[code] : FileType::unknown;
}

}  // namespace

Result<BlockCache> BlockCache::create(BlockSource& source, u32 block_bytes) {
  BlockCache cache;
  cache.source_ = &source;
  cache.block_bytes_ = block_bytes;
  cache.memory_.reset(new (std::nothrow) std::byte[kCacheBlocks * block_bytes]);
  if (cache.memory_ == nullptr) return Status::no_memory;
  return cache;
}

Result<std::span<const std::byte>> BlockCache::get(u64 block) {
  ++clock_;
  if (slots_[last_].used != 0 && slots_[last_].block == block) {
    slots_[last_].used = clock_;
    return std::span<const std::byte>(memory_.get() + last_ * block_bytes_, block_bytes_);
  }
  usize oldest = 0;
  for (usize i = 0; i < slots_.size(); ++i) {
    if (slots_[i].used != 0 && slots_[i].block == block) {
      slots_[i].used = clock_;
      last_ = i;
      return std::span<const std::byte>(memory_.get() + i * block_bytes_, block_bytes_);
    }
    if (slots_[i].used < slots_[oldest].used) oldest = i;
  }
  const std::span<std::byte> into(memory_.get() + oldest * block_bytes_, block_bytes_);
  slots_[oldest].used = 0;  // whatever happens, its old content is gone
  TRY(source_->read(block * block_bytes_, into));
  slots_[oldest] = {block, clock_};
  last_ = oldest;
  return std::span<const std::byte>(into);
}

Result<Ext2> Ext2::mount(BlockSource& source, MountReason* reason) {
  const u64 device_bytes = source.size();
  if (device_bytes < kSuperblockOffset + kSuperblockBytes) {
    return refuse(reason, Status::corrupt, "device of {} bytes is too small for a superblock", device_bytes);
  }
  std::array<std::byte, kSuperblockBytes> raw;
  if (const Result<void> got = source.read(kSuperblockOffset, raw); !got.has_value()) {
    return refuse(reason, got.error(), "superblock cannot be read: {}", got.error());
  }
  const Superblock sb{ByteReader(raw)};

  if (sb.magic() != kMagic) return refuse(reason, Status::corrupt, "bad magic {:#06x}", sb.magic());
  if (sb.revision() > 1) return refuse(reason, Status::not_supported, "revision {} not supported", sb.revision());
  const bool revision_0 = sb.revision() == 0;
  const u32 incompat = revision_0 ? 0 : sb.incompat();
  if ((incompat & kIncompatRecover) != 0) {
    return refuse(reason, Status::not_supported, "the journal needs recovery");
  }
  if (const u32 unknown = incompat & ~kIncompatFileType; unknown != 0) {
    const u32 bit = static_cast<u32>(__builtin_ctz(unknown));
    return refuse(reason, Status::not_supported, "incompatible feature {:#x} ({})", unknown & ~(unknown - 1),
                  bit < std::size(kIncompatNames) ? kIncompatNames[bit] : "unknown");
  }
  if (!revision_0 && (sb.ro_compat() & kReadOnlyCompatBigalloc) != 0) {
    return refuse(reason, Status::not_supported, "feature bigalloc not supported");
  }
  if (sb.log_block_size() > 2) {
    if (sb.log_block_size() > 20) return refuse(reason, Status::corrupt, "block size 2^({} + 10)", sb.log_block_size());
    return refuse(reason, Status::not_supported, "block size {} not supported", u64{1024} << sb.log_block_size());
  }

  const u32 block_bytes = u32{1024} << sb.log_block_size();
  const u32 expected_first = block_bytes == 1024 ? 1 : 0;
  if (sb.first_data_block() != expected_first) {
    return refuse(reason, Status::corrupt, "first data block {} where {} is due", sb.first_data_block(),
                  expected_first);
  }
  const u64 blocks = sb.blocks_count();
  if (blocks <= u64{expected_first} + 1) return refuse(reason, Status::corrupt, "{} blocks are too few", blocks);
  if (blocks * block_bytes > device_bytes) {
    return refuse(reason, Status::corrupt, "{} blocks of {} bytes on a device of {}", blocks, block_bytes,
                  device_bytes);
  }
  const u32 bits_per_block = block_bytes * 8;
  if (sb.blocks_per_group() == 0 || sb.blocks_per_group() > bits_per_block) {
    return refuse(reason, Status::corrupt, "{} blocks per group", sb.blocks_per_group());
  }
  if (sb.inodes_per_group() == 0 || sb.inodes_per_group() > bits_per_block) {
    return refuse(reason, Status::corrupt, "{} inodes per group", sb.inodes_per_group());
  }
  const u32 inode_bytes = revision_0 ? kOldInodeBytes : sb.inode_size();
  if (inode_bytes < kOldInodeBytes || inode_bytes > block_bytes || (inode_bytes & (inode_bytes - 1)) != 0) {
    return refuse(reason, Status::corrupt, "inode size {}", inode_bytes);
  }
  const u64 groups = (blocks - expected_first + sb.blocks_per_group() - 1) / sb.blocks_per_group();
  if (groups * sb.inodes_per_group() != sb.inodes_count()) {
    return refuse(reason, Status::corrupt, "{} inodes in {} groups of {}", sb.inodes_count(), groups,
                  sb.inodes_per_group());
  }
  const u64 descriptors_at = (u64{expected_first} + 1) * block_bytes;
  if (groups > (blocks * block_bytes - descriptors_at) / kGroupDescriptorBytes) {
    return refuse(reason, Status::corrupt, "group descriptors outside the device");
  }

  Ext2 fs;
  fs.source_ = &source;
  fs.block_bytes_ = block_bytes;
  fs.block_count_ = blocks;
  fs.free_blocks_ = sb.free_blocks();
  fs.first_data_block_ = expected_first;
  fs.inode_count_ = sb.inodes_count();
  fs.inodes_per_group_ = sb.inodes_per_group();
  fs.inode_bytes_ = inode_bytes;
  fs.revision_0_ = revision_0;
  fs.has_file_type_ = (incompat & kIncompatFileType) != 0;
  std::memcpy(fs.label_.data(), raw.data() + Superblock::kLabelOffset, fs.label_.size());
  Result<BlockCache> cache = BlockCache::create(source, block_bytes);
  if (!cache.has_value()) return refuse(reason, cache.error(), "no memory for the block cache");
  fs.cache_ = std::move(*cache);

  for (u32 group = 0; group < groups; ++group) {
    if (const Result<u64> table = fs.inode_table(group); !table.has_value()) {
      return refuse(reason, table.error(), "inode table of group {}: {}", group, table.error());
    }
  }
  const Result<Inode> root = fs.load_inode(kRootInode);
  if (!root.has_value()) {
    const bool unused = root.error() == Status::not_found || root.error() == Status::out_of_range;
    return refuse(reason, unused ? Status::corrupt : root.error(), "root directory cannot be read: {}", root.error());
  }
  if (root->info.type != FileType::directory) {
    return refuse(reason, Status::corrupt, "inode 2 is not a directory");
  }
  return fs;
}

std::string_view Ext2::label() const {
  const std::string_view all(label_.data(), label_.size());
  return all.substr(0, all.find('\0'));
}

// First block of the inode table of a group; the whole table lies on the device.
Result<u64> Ext2::inode_table(u32 group) {
  const u64 descriptor_at = (first_data_block_ + 1) * block_bytes_ + u64{group} * kGroupDescriptorBytes;
  const ByteReader descriptor(TRY(cache_.get(descriptor_at / block_bytes_)));
  const u64 table = *descriptor.read_u32(descriptor_at % block_bytes_ + 8);
  const u64 table_blocks = (u64{inodes_per_group_} * inode_bytes_ + block_bytes_ - 1) / block_bytes_;
  if (!is_data_block(table) || table_blocks > block_count_ - table) return Status::corrupt;
  return table;
}

Result<Ext2::Inode> Ext2::load_inode(u32 number) {
  if (number == 0 || number > inode_count_) return Status::out_of_range;
  const u64 table = TRY(inode_table((number - 1) / inodes_per_group_));
  const u64 offset = u64{(number - 1) % inodes_per_group_} * inode_bytes_;
  const std::span<const std::byte> block = TRY(cache_.get(table + offset / block_bytes_));
  // Sizes and inode_bytes_ are powers of two: the first 128 bytes lie inside one block.
  const ByteReader raw(block.subspan(offset % block_bytes_, kOldInodeBytes));

  Inode inode;
  const u16 mode = *raw.read_u16(0);
  const u32 flags = *raw.read_u32(32);
  const u32 attributes_block = *raw.read_u32(104);
  const u32 size_high = *raw.read_u32(108);
  inode.info.links = *raw.read_u16(26);
  inode.info.type = type_of_mode(mode);
  inode.info.mode = mode & 07777;
  inode.info.size = *raw.read_u32(4);
  inode.info.mtime = *raw.read_u32(16);
  inode.info.blocks = *raw.read_u32(28);
  inode.info.uid = *raw.read_u16(2) | u32{*raw.read_u16(120)} << 16;
  inode.info.gid = *raw.read_u16(24) | u32{*raw.read_u16(122)} << 16;
  for (usize i = 0; i < kMapWords; ++i) inode.map[i] = *raw.read_u32(40 + 4 * i);

  if (mode == 0 || inode.info.links == 0) return Status::not_found;
  if (inode.info.type == FileType::unknown) return Status::corrupt;
  if ((flags & (kInodeExtents | kInodeInlineData | kInodeEncrypted)) != 0) return Status::not_supported;
  switch (inode.info.type) {
    case FileType::regular:
      if (!revision_0_) inode.info.size |= u64{size_high} << 32;
      if (inode.info.size > max_file_bytes()) return Status::corrupt;
      break;
    case FileType::directory:
      if (inode.info.size == 0 || inode.info.size % block_bytes_ != 0) return Status::corrupt;
      if (inode.info.size > kMaxDirectoryBytes || inode.info.size > block_count_ * block_bytes_) return Status::corrupt;
      break;
    case FileType::symlink: {
      if (inode.info.size == 0 || inode.info.size >= kMaxSymlinkBytes || inode.info.size > block_bytes_) {
        return Status::corrupt;
      }
      const u64 attribute_units = attributes_block != 0 ? block_bytes_ / 512 : 0;
      inode.fast_symlink = inode.info.blocks == attribute_units;
      if (inode.fast_symlink && inode.info.size >= kFastSymlinkBytes) return Status::corrupt;
      break;
    }
    default:
      break;
  }
  return inode;
}

Result<Ext2::Inode> Ext2::load_directory(u32 number) {
  const Inode inode = TRY(load_inode(number));
  if (inode.info.type != FileType::directory) return Status::not_a_directory;
  return inode;
}

Result<InodeInfo> Ext2::inode(u32 number) {
  const Inode inode = TRY(load_inode(number));
  return inode.info;
}

u64 Ext2::max_file_bytes() const {
  const u64 pointers = block_bytes_ / 4;
  return (kDirectBlocks + pointers + pointers * pointers + pointers * pointers * pointers) * block_bytes_;
}

// The physical block behind block `index` of the file; 0: a hole. `index` is below max_file_bytes() / block size.
Result<u64> Ext2::map_block(const Inode& inode, u64 index) {
  if (index < kDirectBlocks) {
    const u32 block = inode.map[index];
    if (block != 0 && !is_data_block(block)) return Status::corrupt;
    return u64{block};
  }
  const u64 pointers = block_bytes_ / 4;
  u64 rest = index - kDirectBlocks;
  u64 reach = pointers;  // data blocks below one pointer of the inode, at this depth
  usize depth = 1;
  while (rest >= reach) {
    rest -= reach;
    reach *= pointers;
    if (++depth > 3) return Status::corrupt;
  }
  u64 block = inode.map[kDirectBlocks + depth - 1];
  for (; depth > 0; --depth) {
    if (block == 0) return u64{0};
    if (!is_data_block(block)) return Status::corrupt;
    reach /= pointers;
    const ByteReader table(TRY(cache_.get(block)));
    block = *table.read_u32(4 * (rest / reach));
    rest %= reach;
  }
  if (block != 0 && !is_data_block(block)) return Status::corrupt;
  return block;
}

// How far the blocks from `index` on are contiguous on the device, or all holes.
Result<Ext2::Run> Ext2::map_run(const Inode& inode, u64 index, u64 max_count) {
  Run run{TRY(map_block(inode, index)), 1};
  while (run.count < max_count) {
    const u64 next = TRY(map_block(inode, index + run.count));
    if (next != (run.block == 0 ? 0 : run.block + run.count)) break;
    ++run.count;
  }
  return run;
}

Result<usize> Ext2::read_data(const Inode& inode, u64 offset, std::span<std::byte> out) {
  if (offset >= inode.info.size) return usize{0};
  if (out.size() > inode.info.size - offset) out = out.first(inode.info.size - offset);
  usize done = 0;
  while (done < out.size()) {
    const u64 within = (offset + done) % block_bytes_;
    const u64 left = out.size() - done;
    const u64 blocks = (within + left + block_bytes_ - 1) / block_bytes_;
    const Run run = TRY(map_run(inode, (offset + done) / block_bytes_, blocks));
    const u64 run_bytes = run.count * block_bytes_ - within;
    const std::span<std::byte> part = out.subspan(done, run_bytes < left ? run_bytes : left);
    if (run.block == 0) {
      std::memset(part.data(), 0, part.size());
    } else {
      TRY(source_->read(run.block * block_bytes_ + within, part));
    }
    done += part.size();
  }
  return done;
}

Result<usize> Ext2::read(u32 number, u64 offset, std::span<std::byte> out) {
  const Inode inode = TRY(load_inode(number));
  if (inode.info.type == FileType::directory) return Status::is_a_directory;
  if (inode.info.type != FileType::regular) return Status::invalid_argument;
  return read_data(inode, offset, out);
}

Result<usize> Ext2::read_link(u32 number, std::span<char> out) {
  const Inode inode = TRY(load_inode(number));
  if (inode.info.type != FileType::symlink) return Status::invalid_argument;
  if (inode.info.size > out.size()) return Status::too_big;
  const usize length = inode.info.size;
  if (inode.fast_symlink) {
    std::memcpy(out.data(), inode.map.data(), length);
  } else {
    TRY(read_data(inode, 0, std::as_writable_bytes(out.first(length))));
  }
  if (std::memchr(out.data(), 0, length) != nullptr) return Status::corrupt;
  return length;
}

Result<std::span<const std::byte>> Ext2::directory_block(const Inode& directory, u64 index) {
  const u64 block = TRY(map_block(directory, index));
  if (block == 0) return Status::corrupt;  // a directory has no holes
  return cache_.get(block);
}

Result<std::optional<DirEntry>> Ext2::parse_entry(std::span<const std::byte> block, u32 at, u32* length) const {
  if (block.size() - at < kDirEntryHeaderBytes) return Status::corrupt;
  const ByteReader reader(block);
  const u32 inode = *reader.read_u32(at);
  *length = *reader.read_u16(at + 4);
  if (*length < kDirEntryHeaderBytes || *length % 4 != 0 || *length > block.size() - at) return Status::corrupt;
  if (inode == 0) return std::optional<DirEntry>();
  // Without the feature the length of the name is a 16-bit field.
  const u32 name_bytes = has_file_type_ ? *reader.read_u8(at + 6) : *reader.read_u16(at + 6);
  if (inode > inode_count_ || name_bytes == 0 || name_bytes > kMaxNameBytes ||
      name_bytes > *length - kDirEntryHeaderBytes) {
    return Status::corrupt;
  }
  DirEntry entry;
  entry.inode = inode;
  entry.type = has_file_type_ ? type_of_entry(*reader.read_u8(at + 7)) : FileType::unknown;
  entry.name = {reinterpret_cast<const char*>(block.data()) + at + kDirEntryHeaderBytes, name_bytes};
  for (const char c : entry.name) {
    if (c == '\0' || c == '/') return Status::corrupt;
  }
  return std::optional<DirEntry>(entry);
}

Result<u32> Ext2::lookup(u32 directory, std::string_view name) {
  const Inode inode = TRY(load_directory(directory));
  if (name.empty() || name.size() > kMaxNameBytes) return Status::not_found;
  for (u64 index = 0; index < inode.info.size / block_bytes_; ++index) {
    const std::span<const std::byte> block = TRY(directory_block(inode, index));
    u32 length = 0;
    for (u32 at = 0; at < block.size(); at += length) {
      const std::optional<DirEntry> entry = TRY(parse_entry(block, at, &length));
      if (entry.has_value() && entry->name == name) return entry->inode;
    }
  }
  return Status::not_found;
}

Result<u64> Ext2::read_dir_raw(u32 directory, u64 cookie, TakeEntry take, void* context) {
  const Inode inode = TRY(load_directory(directory));
  // A copy, because the callback may use the cache.
  std::array<std::byte, kMaxBlockBytes> copy;
  for (u64 index = cookie / block_bytes_; index < inode.info.size / block_bytes_; ++index) {
    const std::span<const std::byte> cached = TRY(directory_block(inode, index));
    std::memcpy(copy.data(), cached.data(), cached.size());
    const std::span<const std::byte> block(copy.data(), block_bytes_);
    u32 length = 0;
    for (u32 at = 0; at < block.size(); at += length) {
      std::optional<DirEntry> entry = TRY(parse_entry(block, at, &length));
      const u64 position = index * block_bytes_ + at;
      // Entries are found from the start of the block, so a cookie from elsewhere lands on the next true entry.
      if (!entry.has_value() || position < cookie) continue;
      entry->next_cookie = position + length;
      if (!take(context, *entry)) return position;
    }
  }
  return kEndOfDirectory;
}

}  // namespace keel::ext2
