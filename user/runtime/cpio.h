// CpioArchive: finds files in a cpio archive of the "newc" form that lies in memory. Read-only, nothing is copied.
//
// open() walks the whole archive once; what it accepts is sound: entries, names and data lie inside the span and a
// trailer ends it. The span must not change afterwards (a read-only mapping). Bytes behind the trailer are ignored.
// Hard links and device nodes are refused; data of directories and links is what the archive says.
//
// Costs        open, find: O(entries). No allocation.
// See          "cpio" in the manuals of GNU cpio 2.13 (format newc); tools/mkinitrd makes such archives, with file data
//              aligned to pages; cpio_test.cc; tests/fuzz/cpio_fuzz.cc
#pragma once

#include <span>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace keel {

inline constexpr u64 kMaxCpioNameBytes = 255;   // of a path, without what pads it
inline constexpr u64 kMaxCpioNameField = 8192;  // with padding and NUL
inline constexpr u64 kMaxCpioEntries = 1 << 16;

enum class CpioType : u8 { file, directory, symlink };

struct CpioEntry {
  std::string_view name;  // relative: without leading "/" or "./"; not empty but for the root directory "."
  CpioType type = CpioType::file;
  u16 mode = 0;   // permission bits, 07777
  u32 mtime = 0;  // seconds since 1970
  std::span<const std::byte> data;
};

class CpioArchive {
 public:
  CpioArchive() = default;

  // Errors: corrupt, not_supported (hard links, device nodes, another cpio format).
  static Result<CpioArchive> open(std::span<const std::byte> archive);

  // The entry named `path`; a leading "/" or "./" is ignored. Errors: not_found.
  Result<CpioEntry> find(std::string_view path) const;

  usize entry_count() const { return count_; }
  std::span<const std::byte> bytes() const { return archive_; }

  class Iterator {
   public:
    CpioEntry operator*() const { return entry_; }
    const CpioEntry* operator->() const { return &entry_; }
    Iterator& operator++();
    bool operator==(const Iterator& other) const { return left_ == other.left_; }

   private:
    friend class CpioArchive;
    Iterator(std::span<const std::byte> archive, usize left);
    void load();
    std::span<const std::byte> archive_;
    u64 offset_ = 0;
    usize left_ = 0;  // entries from here on, this one included
    CpioEntry entry_;
  };
  Iterator begin() const { return Iterator(archive_, count_); }
  Iterator end() const { return Iterator(archive_, 0); }

 private:
  std::span<const std::byte> archive_;
  usize count_ = 0;
};

}  // namespace keel
