// Ext2: reads an ext2 file system that nobody vouches for. Read-only; path walking is the caller's.
//
// Accepts      revision 0 and 1; blocks of 1024, 2048 or 4096 bytes; the feature `filetype`; any compatible feature
//              (dir_index: an indexed directory is also a valid linear one) and any read-only-compatible one but
//              bigalloc. Refuses every other incompatible feature: a journal to replay, extents, 64bit, meta_bg, ...
// Invariants   I1 no byte outside [0, blocks_count * block size) of the source is read.
//              I2 each number taken from the device (block, inode, length, offset) is checked before it is used.
//              I3 no walk follows device data without a bound: a block map has three levels, a directory at most
//                 kMaxDirectoryBytes, its entries at least 8 bytes.
// Errors       corrupt: the device breaks a rule of the format. not_supported: an inode uses extents, inline data or
//              encryption. io_error and others: what the source answered. no_memory: mount only.
// Locks        none; one call at a time. Callbacks of read_dir() may call back into the same Ext2.
// Costs        metadata through a cache of kCacheBlocks blocks, least recently used out first. File data is never
//              cached: read() asks the source once for each run of contiguous blocks, straight into the caller's
//              buffer. Memory: kCacheBlocks * block size from the heap, nothing else.
// See          D. Poirier, "The Second Extended File System: Internal Layout"; ext2_test.cc; tests/fuzz/ext2_fuzz.cc
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

#include "base/result.h"
#include "base/types.h"

namespace keel::ext2 {

// Where the bytes come from. Offsets and lengths are in bytes and need not be aligned to any sector.
class BlockSource {
 public:
  // Fills all of `out` from `byte_offset` on, or fails. The range lies inside size().
  virtual Result<void> read(u64 byte_offset, std::span<std::byte> out) = 0;
  virtual u64 size() const = 0;  // bytes; constant while mounted

 protected:
  ~BlockSource() = default;
};

inline constexpr u32 kRootInode = 2;
inline constexpr usize kMaxNameBytes = 255;
inline constexpr usize kCacheBlocks = 64;
inline constexpr u32 kMaxBlockBytes = 4096;
inline constexpr u64 kMaxDirectoryBytes = u64{64} << 20;

enum class FileType : u8 { unknown, regular, directory, symlink, character_device, block_device, fifo, socket };

struct InodeInfo {
  FileType type = FileType::unknown;
  u16 mode = 0;  // permission bits, 07777
  u64 size = 0;  // bytes
  u16 links = 0;
  u32 mtime = 0;  // seconds since 1970
  u32 uid = 0;
  u32 gid = 0;
  u64 blocks = 0;  // 512-byte units in use, with indirect blocks
};

struct DirEntry {
  u32 inode = 0;                      // valid number, possibly of an unused inode
  FileType type = FileType::unknown;  // unknown where the file system does not store it; a hint in any case
  std::string_view name;              // without '/' and NUL, not empty; valid during the callback
  u64 next_cookie = 0;                // read_dir() from here continues after this entry
};

inline constexpr u64 kEndOfDirectory = ~u64{0};

// Why mount() refused, for a person: "block size 65536 not supported".
struct MountReason {
  std::array<char, 112> text{};
  const char* c_str() const { return text.data(); }
};

// Whole blocks of metadata. A returned span is valid until the next call of get().
class BlockCache {
 public:
  static Result<BlockCache> create(BlockSource& source, u32 block_bytes);
  Result<std::span<const std::byte>> get(u64 block);

 private:
  struct Slot {
    u64 block = 0;
    u64 used = 0;  // clock_ at the last use; 0: empty
  };
  BlockSource* source_ = nullptr;
  u32 block_bytes_ = 0;
  u64 clock_ = 0;
  usize last_ = 0;  // slot of the last answer: block maps ask for the same block many times
  std::array<Slot, kCacheBlocks> slots_{};
  std::unique_ptr<std::byte[]> memory_;
};

class Ext2 {
 public:
  // `source` must outlive the Ext2. On failure *reason (if given) holds a sentence.
  // Errors: corrupt, not_supported, no_memory, or the source's.
  static Result<Ext2> mount(BlockSource& source, MountReason* reason = nullptr);

  // Errors: out_of_range (no such number), not_found (not in use), corrupt, not_supported.
  Result<InodeInfo> inode(u32 number);

  // The inode number behind `name`, which may be "." or "..". Errors: not_found, not_a_directory, and inode()'s.
  Result<u32> lookup(u32 directory, std::string_view name);

  // Reads up to out.size() bytes of a regular file; fewer only at its end, 0 beyond it. Holes read as zeros.
  // Errors: is_a_directory, invalid_argument (no regular file), and inode()'s.
  Result<usize> read(u32 number, u64 offset, std::span<std::byte> out);

  // The target of a symbolic link, no NUL added: its length. Errors: invalid_argument (no link), too_big (does not fit
  // `out`), and inode()'s.
  Result<usize> read_link(u32 number, std::span<char> out);

  // Calls `take(const DirEntry&) -> bool` for the entries from `cookie` on (0: the first, any number is safe), "." and
  // ".." included. false from `take` stops; the entry counts as not taken. Returns the cookie to continue from,
  // kEndOfDirectory when all were taken.
  template <class Take>
  Result<u64> read_dir(u32 directory, u64 cookie, Take&& take) {
    return read_dir_raw(
        directory, cookie,
        [](void* context, const DirEntry& entry) -> bool {
          return (*static_cast<std::remove_reference_t<Take>*>(context))(entry);
        },
        const_cast<void*>(static_cast<const void*>(&take)));
  }

  u32 block_bytes() const { return block_bytes_; }
  u64 block_count() const { return block_count_; }
  u64 free_blocks() const { return free_blocks_; }
  u32 inode_count() const { return inode_count_; }
  std::string_view label() const;

 private:
  static constexpr usize kDirectBlocks = 12;
  static constexpr usize kMapWords = 15;

  struct Inode {
    InodeInfo info;
    std::array<u32, kMapWords> map;
    bool fast_symlink = false;
  };
  struct Run {
    u64 block = 0;  // physical, 0: a hole
    u64 count = 0;  // blocks, at least 1
  };
  using TakeEntry = bool (*)(void* context, const DirEntry& entry);

  Ext2() = default;
  Result<u64> inode_table(u32 group);
  Result<Inode> load_inode(u32 number);
  Result<Inode> load_directory(u32 number);
  bool is_data_block(u64 block) const { return block > first_data_block_ && block < block_count_; }
  u64 max_file_bytes() const;
  Result<u64> map_block(const Inode& inode, u64 index);
  Result<Run> map_run(const Inode& inode, u64 index, u64 max_count);
  Result<usize> read_data(const Inode& inode, u64 offset, std::span<std::byte> out);
  Result<std::span<const std::byte>> directory_block(const Inode& directory, u64 index);
  // The entry at `at`, whose rec_len is put into *length. nullopt: an unused one.
  Result<std::optional<DirEntry>> parse_entry(std::span<const std::byte> block, u32 at, u32* length) const;
  Result<u64> read_dir_raw(u32 directory, u64 cookie, TakeEntry take, void* context);

  BlockSource* source_ = nullptr;
  BlockCache cache_;
  u32 block_bytes_ = 0;
  u64 block_count_ = 0;
  u64 free_blocks_ = 0;
  u64 first_data_block_ = 0;
  u32 inode_count_ = 0;
  u32 inodes_per_group_ = 0;
  u32 inode_bytes_ = 0;
  bool revision_0_ = false;
  bool has_file_type_ = false;
  std::array<char, 16> label_{};
};

}  // namespace keel::ext2
