#include "user/services/vfs/path_walk.h"

#include <memory>

#include "user/runtime/dir_entries.h"

namespace keel::vfs {
namespace {

constexpr usize kMaxNameBytes = 255;

bool is_type(const NodeInfo& info, FileType type) { return info.type == static_cast<u32>(type); }

// What is still to be walked, in one buffer: links are put in front of it.
class Rest {
 public:
  Result<void> push_front(std::string_view text) {
    if (text.size() + 1 > start_) return Status::too_big;
    bytes_[--start_] = '/';
    start_ -= text.size();
    for (usize i = 0; i < text.size(); ++i) bytes_[start_ + i] = text[i];
    return {};
  }
  // The next component; empty at the end. *more: something but '/' follows. *slash: it had a '/' behind it as written.
  std::string_view next(bool* more) {
    while (start_ < kMaxWalkBytes && bytes_[start_] == '/') ++start_;
    const usize begin = start_;
    while (start_ < kMaxWalkBytes && bytes_[start_] != '/') ++start_;
    usize after = start_;
    while (after < kMaxWalkBytes && bytes_[after] == '/') ++after;
    *more = after < kMaxWalkBytes;
    return {bytes_ + begin, start_ - begin};
  }

 private:
  usize start_ = kMaxWalkBytes;
  char bytes_[kMaxWalkBytes];
};

class Walk {
 public:
  explicit Walk(FileSystems& systems) : systems_(systems) {}

  Result<Place> run(std::string_view path, LastLink last) {
    const bool wants_directory = path.ends_with('/') || path.ends_with("/.") || path == ".";
    if (wants_directory) last = LastLink::follow;
    if (path.find('\0') != std::string_view::npos) return Status::not_found;
    TRY(rest_.push_front(path));
    TRY(go_to_root());
    for (;;) {
      bool more = false;
      const std::string_view name = rest_.next(&more);
      if (name.empty()) break;
      TRY(step(name, more || last == LastLink::follow));
    }
    if (wants_directory && !is_type(stack_.back().info, FileType::directory)) return Status::not_a_directory;
    const Level& end = stack_.back();
    return Place{end.file_system, end.info, path_};
  }

 private:
  struct Level {
    usize file_system;
    NodeInfo info;
    usize path_bytes;
  };

  Result<void> go_to_root() {
    const NodeInfo root = TRY(systems_.root(0));
    stack_.clear();
    path_.clear();
    stack_.push_back({0, root, 0});
    return {};
  }

  Result<void> step(std::string_view name, bool follow) {
    if (!is_type(stack_.back().info, FileType::directory)) return Status::not_a_directory;
    if (!systems_.may_search(stack_.back().info)) return Status::access_denied;
    if (name == ".") return {};
    if (name == "..") {
      if (stack_.size() > 1) stack_.pop_back();
      path_ = FixedString<1024>(path_.view().substr(0, stack_.back().path_bytes));
      return {};
    }
    if (name.size() > kMaxNameBytes) return Status::too_big;
    const FixedString<1024> parent = path_;
    if (!path_.append("/") || !path_.append(name)) return Status::too_big;
    for (usize i = 1; i < systems_.count(); ++i) {
      if (systems_.path(i) == path_.view()) return enter(i, TRY(systems_.root(i)));
    }
    const usize here = stack_.back().file_system;
    const NodeInfo found = TRY(systems_.lookup(here, stack_.back().info.inode, name));
    if (!is_type(found, FileType::symlink) || !follow) return enter(here, found);
    if (++links_ > kMaxLinks) return Status::too_many_links;
    const FixedString<1024> target = TRY(systems_.read_link(here, found.inode));
    if (target.empty()) return Status::not_found;
    path_ = parent;
    TRY(rest_.push_front(target));
    return target.view().starts_with('/') ? go_to_root() : Result<void>();
  }

  Result<void> enter(usize file_system, const NodeInfo& info) {
    stack_.push_back({file_system, info, path_.size()});
    return {};
  }

  FileSystems& systems_;
  Rest rest_;
  std::vector<Level> stack_;
  FixedString<1024> path_;
  u32 links_ = 0;
};

}  // namespace

Result<Place> walk_path(FileSystems& systems, std::string_view path, LastLink last) {
  const std::unique_ptr<Walk> walk(new (std::nothrow) Walk(systems));
  if (walk == nullptr) return Status::no_memory;
  return walk->run(path, last);
}

}  // namespace keel::vfs
