#include "user/services/vfs/path_walk.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "user/runtime/dir_entries.h"

namespace keel::vfs {
namespace {

// Trees written as "path" -> target of a link, or "" for a file; "path/" is a directory.
class FakeSystems final : public FileSystems {
 public:
  void mount(std::string path) {
    paths_.push_back(std::move(path));
    nodes_.emplace_back();
    nodes_.back().push_back({FileType::directory, {}, {}});
  }
  void directory(usize fs, std::string path) { add(fs, path, FileType::directory, ""); }
  void file(usize fs, std::string path) { add(fs, path, FileType::regular, ""); }
  void link(usize fs, std::string path, std::string target) { add(fs, path, FileType::symlink, target); }

  usize count() const override { return paths_.size(); }
  std::string_view path(usize n) const override { return paths_[n]; }
  Result<NodeInfo> root(usize n) override {
    if (broken_ == n) return Status::corrupt;
    return info(n, 0);
  }
  Result<NodeInfo> lookup(usize n, u64 directory, std::string_view name) override {
    const Node& node = nodes_[n][directory];
    if (node.type != FileType::directory) return Status::not_a_directory;
    const auto found = node.children.find(std::string(name));
    if (found == node.children.end()) return Status::not_found;
    return info(n, found->second);
  }
  Result<FixedString<1024>> read_link(usize n, u64 inode) override {
    return FixedString<1024>(std::string_view(nodes_[n][inode].target));
  }
  usize broken_ = ~usize{0};

 private:
  struct Node {
    FileType type;
    std::string target;
    std::map<std::string, u64> children;
  };
  NodeInfo info(usize n, u64 inode) {
    return NodeInfo{.inode = inode, .type = static_cast<u32>(nodes_[n][inode].type), .mode = 0, .size = 0};
  }
  void add(usize fs, const std::string& path, FileType type, const std::string& target) {
    u64 at = 0;
    usize from = 0;
    for (usize slash; (slash = path.find('/', from)) != std::string::npos; from = slash + 1) {
      at = nodes_[fs][at].children.at(path.substr(from, slash - from));
    }
    nodes_[fs].push_back({type, target, {}});
    nodes_[fs][at].children[path.substr(from)] = nodes_[fs].size() - 1;
  }
  std::vector<std::string> paths_;
  std::vector<std::vector<Node>> nodes_;
};

class PathWalk : public testing::Test {
 protected:
  PathWalk() {
    s_.mount("");
    s_.mount("/disk");
    s_.directory(0, "bin");
    s_.file(0, "bin/tools");
    s_.link(0, "bin/ls", "tools");
    s_.link(0, "loop", "loop");
    s_.link(0, "d", "/disk/deep");
    s_.link(0, "dangling", "nowhere");
    s_.link(0, "slashed", "bin/");
    s_.directory(1, "deep");
    s_.file(1, "deep/leaf");
    s_.link(1, "up", "../bin/tools");
    s_.link(1, "back", "/disk/deep/leaf");
  }
  std::string at(std::string_view path, LastLink last = LastLink::follow) {
    const Result<Place> place = walk_path(s_, path, last);
    if (!place.has_value()) return std::string("!") + status_name(place.error());
    return std::to_string(place->file_system) + ":" + std::string(place->path.view());
  }
  FakeSystems s_;
};

TEST_F(PathWalk, PlainPaths) {
  EXPECT_EQ(at("/"), "0:");
  EXPECT_EQ(at(""), "0:");
  EXPECT_EQ(at("/bin/tools"), "0:/bin/tools");
  EXPECT_EQ(at("bin//./tools"), "0:/bin/tools");
  EXPECT_EQ(at("/nope"), "!NotFound");
  EXPECT_EQ(at("/bin/nope"), "!NotFound");
  EXPECT_EQ(at("/bin/tools/x"), "!NotADirectory");
  EXPECT_EQ(at("/nope/x"), "!NotFound");
}

TEST_F(PathWalk, TrailingSlashesWantDirectories) {
  EXPECT_EQ(at("/bin/"), "0:/bin");
  EXPECT_EQ(at("/bin///"), "0:/bin");
  EXPECT_EQ(at("/bin/tools/"), "!NotADirectory");
  EXPECT_EQ(at("/bin/tools/."), "!NotADirectory");
  EXPECT_EQ(at("/d/", LastLink::keep), "1:/disk/deep");
  EXPECT_EQ(at("/slashed"), "0:/bin");
}

TEST_F(PathWalk, DotDot) {
  EXPECT_EQ(at("/.."), "0:");
  EXPECT_EQ(at("/../../bin"), "0:/bin");
  EXPECT_EQ(at("/bin/../bin/tools"), "0:/bin/tools");
  EXPECT_EQ(at("/disk/.."), "0:");
  EXPECT_EQ(at("/disk/deep/../../bin/ls"), "0:/bin/tools");
  EXPECT_EQ(at("/bin/tools/.."), "!NotADirectory");
  EXPECT_EQ(at("/d/.."), "1:/disk");  // of where the link leads
}

TEST_F(PathWalk, Links) {
  EXPECT_EQ(at("/bin/ls"), "0:/bin/tools");
  EXPECT_EQ(at("/bin/ls", LastLink::keep), "0:/bin/ls");
  EXPECT_EQ(at("/d/leaf"), "1:/disk/deep/leaf");
  EXPECT_EQ(at("/d", LastLink::keep), "0:/d");
  EXPECT_EQ(at("/disk/up"), "0:/bin/tools");
  EXPECT_EQ(at("/disk/back"), "1:/disk/deep/leaf");
  EXPECT_EQ(at("/dangling"), "!NotFound");
  EXPECT_EQ(at("/dangling", LastLink::keep), "0:/dangling");
  EXPECT_EQ(at("/loop"), "!TooManyLinks");
}

TEST_F(PathWalk, LinksAreCounted) {
  for (u32 i = 0; i < kMaxLinks + 1; ++i) {
    s_.link(0, "l" + std::to_string(i), i == 0 ? "bin/tools" : "l" + std::to_string(i - 1));
  }
  EXPECT_EQ(at("/l" + std::to_string(kMaxLinks - 1)), "0:/bin/tools");
  EXPECT_EQ(at("/l" + std::to_string(kMaxLinks)), "!TooManyLinks");
}

TEST_F(PathWalk, LongNames) {
  const std::string name(255, 'n');
  s_.file(0, name);
  EXPECT_EQ(at("/" + name), "0:/" + name);
  EXPECT_EQ(at("/" + name + "x"), "!TooBig");
  EXPECT_EQ(at(std::string(5000, 'x')), "!TooBig");
}

TEST_F(PathWalk, MountPointsHideAndNeedNotExist) {
  s_.directory(0, "disk");
  s_.file(0, "disk/hidden");
  EXPECT_EQ(at("/disk/hidden"), "!NotFound");
  EXPECT_EQ(at("/disk"), "1:/disk");
  EXPECT_EQ(at("/disk2"), "!NotFound");
}

TEST_F(PathWalk, BrokenFileSystemSaysSo) {
  s_.broken_ = 1;
  EXPECT_EQ(at("/disk/deep"), "!Corrupt");
  EXPECT_EQ(at("/bin/ls"), "0:/bin/tools");
}

}  // namespace
}  // namespace keel::vfs
