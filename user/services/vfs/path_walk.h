// walk_path: finds the node that a path names in a tree joined from several file systems.
//
// Rules        Paths begin at the root, with or without a leading '/'. `..` goes up the way that the walk came, so
// above
//              the root and above a mount point it is right without asking a file system. A symbolic link counts
//              against kMaxLinks; its target may be absolute or relative. A trailing '/' demands a directory, behind a
//              link. A mount point hides what its parent has under that name, and need not exist there.
// Errors       not_found, not_a_directory, access_denied (a directory that may not be searched), too_many_links,
// too_big (a name above 255 bytes, a path above kMaxWalkBytes
//              with its links expanded), those of the file systems.
// Costs        one lookup per component; no state is kept.
#pragma once

#include <string_view>
#include <vector>

#include "base/fixed.h"
#include "idl/file_system.h"

namespace keel::vfs {

inline constexpr u32 kMaxLinks = 40;
inline constexpr usize kMaxWalkBytes = 4096;
inline constexpr usize kMaxMounts = 8;

// The mounted file systems, by number. Number 0 is the root.
class FileSystems {
 public:
  virtual usize count() const = 0;
  // Without a trailing '/'; "" for the root.
  virtual std::string_view path(usize number) const = 0;
  virtual Result<NodeInfo> root(usize number) = 0;
  virtual Result<NodeInfo> lookup(usize number, u64 directory, std::string_view name) = 0;
  virtual Result<FixedString<1024>> read_link(usize number, u64 inode) = 0;
  // Whether names in the directory may be looked up.
  virtual bool may_search(const NodeInfo&) const { return true; }

 protected:
  ~FileSystems() = default;
};

struct Place {
  usize file_system = 0;
  NodeInfo info;
  FixedString<1024> path;  // canonical: no links, no "." or "..", no trailing '/'; "" is the root
};

enum class LastLink : u8 { follow, keep };

Result<Place> walk_path(FileSystems& systems, std::string_view path, LastLink last);

}  // namespace keel::vfs
