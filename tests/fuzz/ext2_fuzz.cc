// Ext2 over damaged images: the input is a list of changes {offset: u32, value: u8} to one small good image, so that
// the fuzzer starts behind the magic number. Every file and directory within reach is then read.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "user/fs/ext2/ext2.h"

namespace {

using namespace keel;        // NOLINT
using namespace keel::ext2;  // NOLINT

class MemorySource final : public BlockSource {
 public:
  explicit MemorySource(const std::vector<std::byte>& bytes) : bytes_(bytes) {}
  Result<void> read(u64 offset, std::span<std::byte> out) override {
    if (offset > bytes_.size() || out.size() > bytes_.size() - offset) __builtin_trap();  // I1
    std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }
  u64 size() const override { return bytes_.size(); }

 private:
  const std::vector<std::byte>& bytes_;
};

std::vector<std::byte> make_image() {
  std::string folder = (std::filesystem::temp_directory_path() / "keel-fuzz-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) std::abort();
  const std::string tree = folder + "/tree";
  std::filesystem::create_directories(tree + "/folder/deeper");
  std::ofstream(tree + "/file") << std::string(290 * 1024, 'f');
  std::ofstream(tree + "/folder/small") << "small";
  std::filesystem::create_symlink("short", tree + "/short");
  std::filesystem::create_symlink(std::string(200, 'l'), tree + "/long");
  const std::string command = "PATH=$PATH:/sbin:/usr/sbin mke2fs -q -F -t ext2 -b 1024 -N 32 -U clear -d " + tree +
                              " " + folder + "/image 400K >/dev/null 2>&1";
  if (std::system(command.c_str()) != 0) std::abort();
  std::ifstream in(folder + "/image", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  std::filesystem::remove_all(folder);
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

void visit(Ext2& fs, u32 inode, int depth) {
  const Result<InodeInfo> info = fs.inode(inode);
  if (!info.has_value()) return;
  std::byte data[3000];
  char link[300];
  (void)fs.read_link(inode, link);
  for (const u64 at : {u64{0}, u64{12000}, u64{270000}, info->size / 2, info->size - 5}) (void)fs.read(inode, at, data);
  if (depth == 4) return;
  int budget = 64;
  (void)fs.read_dir(inode, 0, [&](const DirEntry& entry) {
    if (entry.name != "." && entry.name != "..") {
      (void)fs.lookup(inode, entry.name);
      visit(fs, entry.inode, depth + 1);
    }
    return --budget > 0;
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<std::byte> good = make_image();
  if (size > 5 * 32) return -1;
  std::vector<std::byte> image = good;
  for (; size >= 5; data += 5, size -= 5) {
    u32 offset = 0;
    std::memcpy(&offset, data, 4);
    image[offset % image.size()] = static_cast<std::byte>(data[4]);
  }
  MemorySource source(image);
  Result<Ext2> fs = Ext2::mount(source);
  if (fs.has_value()) visit(*fs, kRootInode, 0);
  return 0;
}
