#include "user/fs/ext2/ext2.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace keel::ext2 {
namespace {

namespace stdfs = std::filesystem;

class FileSource final : public BlockSource {
 public:
  explicit FileSource(const stdfs::path& path) : file_(std::fopen(path.c_str(), "rb")), size_(stdfs::file_size(path)) {}
  ~FileSource() { std::fclose(file_); }
  Result<void> read(u64 offset, std::span<std::byte> out) override {
    ++reads;
    EXPECT_LE(offset, size_);
    EXPECT_LE(out.size(), size_ - offset);
    if (fail_after != 0 && reads > fail_after) return Status::io_error;
    std::fseek(file_, static_cast<long>(offset), SEEK_SET);
    return std::fread(out.data(), 1, out.size(), file_) == out.size() ? Result<void>() : Result<void>(Status::io_error);
  }
  u64 size() const override { return size_; }
  u64 reads = 0;
  u64 fail_after = 0;

 private:
  std::FILE* file_;
  u64 size_;
};

class MemorySource final : public BlockSource {
 public:
  explicit MemorySource(std::vector<std::byte> bytes) : bytes(std::move(bytes)) {}
  Result<void> read(u64 offset, std::span<std::byte> out) override {
    EXPECT_LE(offset, bytes.size());
    EXPECT_LE(out.size(), bytes.size() - offset);
    if (offset > bytes.size() || out.size() > bytes.size() - offset) return Status::out_of_range;
    std::copy_n(bytes.begin() + static_cast<long>(offset), out.size(), out.begin());
    return {};
  }
  u64 size() const override { return bytes.size(); }
  template <class T>
  void poke(u64 offset, T value) {
    std::memcpy(bytes.data() + offset, &value, sizeof value);
  }
  std::vector<std::byte> bytes;
};

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (stdfs::temp_directory_path() / "keel-ext2-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { stdfs::remove_all(path_); }
  const stdfs::path& path() const { return path_; }

 private:
  stdfs::path path_;
};

std::string pattern(usize size, u32 seed) {
  std::mt19937 random(seed);
  std::string text(size, 0);
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

void write_file(const stdfs::path& path, std::string_view content) {
  std::ofstream(path, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
}

std::string read_host_file(const stdfs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Blocks of data at the given offsets, holes between them.
void write_sparse(const stdfs::path& path, std::initializer_list<u64> offsets, u64 size) {
  std::ofstream out(path, std::ios::binary);
  for (const u64 offset : offsets) {
    out.seekp(static_cast<std::streamoff>(offset));
    const std::string text = pattern(1500, static_cast<u32>(offset));
    out.write(text.data(), static_cast<std::streamsize>(text.size()));
  }
  out.close();
  stdfs::resize_file(path, size);
}

// Runs mke2fs; the caller states what the image holds.
stdfs::path make_image(const TemporaryFolder& folder, const std::string& options, const std::string& size) {
  static int counter = 0;
  const stdfs::path image = folder.path() / ("image" + std::to_string(counter++));
  const std::string command =
      "PATH=$PATH:/sbin:/usr/sbin mke2fs -q -F " + options + " " + image.string() + " " + size + " >/dev/null 2>&1";
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  return image;
}

std::vector<std::byte> bytes_of(const stdfs::path& path) {
  const std::string text = read_host_file(path);
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

constexpr u64 kTripleAt1K = (12 + 256 + 256 * 256) * 1024;  // first byte behind a triple indirect block

void make_tree(const stdfs::path& root) {
  stdfs::create_directories(root);
  write_file(root / "empty", "");
  write_file(root / "one", "1");
  write_file(root / "direct", pattern(12 * 1024, 1));
  write_file(root / "single", pattern(200 * 1024 + 77, 2));
  write_file(root / "double", pattern(1500 * 1024 + 1, 3));
  write_sparse(root / "holes", {0, 10000, 50000, 300000, 1000000}, 1300001);
  write_sparse(root / "only-a-hole", {}, 5000000);
  write_sparse(root / "triple", {0, 13 * 1024, 400 * 1024, kTripleAt1K - 700, kTripleAt1K + 300 * 1024},
               kTripleAt1K + 500000);
  write_file(root / std::string(255, 'n'), "long name");
  write_file(root / "a name with spaces \xc3\xa4", "utf-8");
  stdfs::create_directory(root / "many");
  for (int i = 0; i < 1500; ++i) {
    write_file(root / "many" / ("entry-" + std::to_string(i) + std::string(static_cast<usize>(i) % 90, 'x')),
               std::to_string(i));
  }
  stdfs::path deep = root;
  for (int i = 0; i < 40; ++i) deep /= "deep" + std::to_string(i);
  stdfs::create_directories(deep);
  write_file(deep / "bottom", "here");
  stdfs::create_directory(root / "links");
  for (const usize length : {1, 2, 58, 59, 60, 61, 500, 1000}) {
    stdfs::create_symlink(std::string(length, 'l'), root / "links" / std::to_string(length));
  }
  ::mkfifo((root / "fifo").c_str(), 0600);
  ::chmod((root / "one").c_str(), 04751);
}

std::string read_all(Ext2& fs, u32 inode, u64 size, usize chunk) {
  std::string content(size, '?');
  const auto out = std::as_writable_bytes(std::span(content));
  for (u64 done = 0; done < size;) {
    const usize n = *fs.read(inode, done, out.subspan(done, std::min<u64>(chunk, size - done)));
    EXPECT_EQ(n, std::min<u64>(chunk, size - done));
    if (n == 0) break;
    done += n;
  }
  return content;
}

std::map<std::string, DirEntry> list(Ext2& fs, u32 directory, usize at_once) {
  std::map<std::string, DirEntry> all;
  for (u64 cookie = 0; cookie != kEndOfDirectory;) {
    usize taken = 0;
    const u64 before = cookie;
    const auto take = [&](const DirEntry& entry) {
      if (taken == at_once) return false;
      ++taken;
      EXPECT_TRUE(fs.inode(entry.inode).has_value());  // calling back is allowed
      EXPECT_TRUE(all.emplace(std::string(entry.name), entry).second) << "twice: " << entry.name;
      return true;
    };
    const Result<u64> next = fs.read_dir(directory, cookie, take);
    EXPECT_TRUE(next.has_value());
    if (!next.has_value()) break;
    cookie = *next;
    EXPECT_TRUE(cookie == kEndOfDirectory || (cookie > before && taken == at_once));
  }
  return all;
}

void compare_tree(Ext2& fs, u32 directory, const stdfs::path& host, usize* files) {
  std::set<std::string> expected = {".", ".."};
  for (const auto& item : stdfs::directory_iterator(host)) expected.insert(item.path().filename().string());
  if (directory == kRootInode) expected.insert("lost+found");
  const auto found = list(fs, directory, 7);
  std::set<std::string> names;
  for (const auto& [name, entry] : found) names.insert(name);
  ASSERT_EQ(names, expected) << host;
  EXPECT_EQ(list(fs, directory, 100000).size(), found.size());

  for (const auto& item : stdfs::directory_iterator(host)) {
    const std::string name = item.path().filename().string();
    SCOPED_TRACE(item.path().string());
    ++*files;
    const Result<u32> number = fs.lookup(directory, name);
    ASSERT_TRUE(number.has_value());
    ASSERT_EQ(*number, found.at(name).inode);
    const InodeInfo info = *fs.inode(*number);
    struct stat host_info;
    ASSERT_EQ(::lstat(item.path().c_str(), &host_info), 0);
    EXPECT_EQ(info.mode, host_info.st_mode & 07777);
    EXPECT_EQ(info.uid, host_info.st_uid);
    EXPECT_EQ(info.gid, host_info.st_gid);
    EXPECT_EQ(info.mtime, static_cast<u32>(host_info.st_mtime));
    EXPECT_TRUE(found.at(name).type == info.type || found.at(name).type == FileType::unknown);
    if (item.is_symlink()) {
      EXPECT_EQ(info.type, FileType::symlink);
      char target[4096];
      const std::string expected_target = stdfs::read_symlink(item.path()).string();
      const Result<usize> length = fs.read_link(*number, target);
      ASSERT_TRUE(length.has_value());
      EXPECT_EQ(std::string(target, *length), expected_target);
      if (expected_target.size() > 1) {
        EXPECT_EQ(fs.read_link(*number, std::span(target, expected_target.size() - 1)).status(), Status::too_big);
      }
    } else if (item.is_directory()) {
      EXPECT_EQ(info.type, FileType::directory);
      EXPECT_EQ(fs.lookup(*number, "..").value(), directory);
      EXPECT_EQ(fs.lookup(*number, ".").value(), *number);
      compare_tree(fs, *number, item.path(), files);
    } else if (item.is_regular_file()) {
      EXPECT_EQ(info.type, FileType::regular);
      EXPECT_EQ(info.links, 1);
      const std::string content = read_host_file(item.path());
      ASSERT_EQ(info.size, content.size());
      EXPECT_TRUE(read_all(fs, *number, info.size, 65536) == content);
      EXPECT_TRUE(read_all(fs, *number, std::min<u64>(info.size, 3000000), 4999) == content.substr(0, 3000000));
      std::byte after[10];
      EXPECT_EQ(*fs.read(*number, info.size, after), 0u);
      EXPECT_EQ(*fs.read(*number, ~u64{0}, after), 0u);
      if (info.size > 3) {
        EXPECT_EQ(*fs.read(*number, info.size - 3, after), 3u);
      }
    } else {
      EXPECT_EQ(info.type, FileType::fifo);
      std::byte out[1];
      EXPECT_EQ(fs.read(*number, 0, out).status(), Status::invalid_argument);
    }
  }
}

class Ext2Images : public testing::TestWithParam<const char*> {};

TEST_P(Ext2Images, EveryByteOfATreeIsRead) {
  TemporaryFolder folder;
  const stdfs::path tree = folder.path() / "tree";
  make_tree(tree);
  const stdfs::path image = make_image(folder, std::string(GetParam()) + " -L keel-test -d " + tree.string(), "48M");
  FileSource source(image);
  MountReason reason;
  Result<Ext2> fs = Ext2::mount(source, &reason);
  ASSERT_TRUE(fs.has_value()) << reason.c_str();
  EXPECT_EQ(fs->label(), "keel-test");
  usize files = 0;
  compare_tree(*fs, kRootInode, tree, &files);
  EXPECT_GT(files, 1550u);

  EXPECT_EQ(fs->lookup(kRootInode, "missing").status(), Status::not_found);
  EXPECT_EQ(fs->lookup(kRootInode, "").status(), Status::not_found);
  EXPECT_EQ(fs->lookup(kRootInode, std::string(256, 'n')).status(), Status::not_found);
  EXPECT_EQ(fs->lookup(*fs->lookup(kRootInode, "one"), "x").status(), Status::not_a_directory);
  std::byte out[1];
  EXPECT_EQ(fs->read(kRootInode, 0, out).status(), Status::is_a_directory);
  EXPECT_EQ(fs->inode(0).status(), Status::out_of_range);
  EXPECT_EQ(fs->inode(fs->inode_count() + 1).status(), Status::out_of_range);
  EXPECT_EQ(fs->inode(fs->inode_count()).status(), Status::not_found);
  // Cookies from anywhere are safe and never give an entry twice.
  for (u64 cookie : {u64{1}, u64{13}, u64{4095}, u64{4097}, u64{1} << 40, ~u64{0} - 1}) {
    EXPECT_TRUE(fs->read_dir(kRootInode, cookie, [](const DirEntry&) { return true; }).has_value());
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, Ext2Images,
                         testing::Values("-t ext2 -b 1024", "-t ext2 -b 2048", "-t ext2 -b 4096",
                                         "-t ext2 -b 1024 -r 0 -O none", "-t ext2 -b 4096 -I 128",
                                         "-t ext2 -b 1024 -O ^filetype,^sparse_super,^dir_index,^resize_inode",
                                         "-t ext3 -b 1024"));

TEST(Ext2, SequentialReadsAreFewAndLarge) {
  TemporaryFolder folder;
  const stdfs::path tree = folder.path() / "tree";
  stdfs::create_directories(tree);
  write_file(tree / "big", pattern(8 << 20, 5));
  for (const char* options : {"-t ext2 -b 1024", "-t ext2 -b 4096"}) {
    FileSource source(make_image(folder, std::string(options) + " -d " + tree.string(), "16M"));
    Ext2 fs = *Ext2::mount(source);
    const u32 big = *fs.lookup(kRootInode, "big");
    std::vector<std::byte> buffer(65536);
    source.reads = 0;
    for (u64 at = 0; at < (8u << 20); at += buffer.size()) EXPECT_EQ(*fs.read(big, at, buffer), buffer.size());
    EXPECT_LE(source.reads, 128u * 2) << options;  // 128 calls
  }
}

// A 1 MiB image with a few files, for tests that damage it.
std::vector<std::byte> small_image(const std::string& options = "-t ext2 -b 1024") {
  TemporaryFolder folder;
  const stdfs::path tree = folder.path() / "tree";
  stdfs::create_directories(tree / "folder");
  write_file(tree / "file", pattern(40000, 1));
  stdfs::create_symlink(std::string(80, 's'), tree / "link");
  write_file(tree / "folder" / "other", "x");
  return bytes_of(make_image(folder, options + " -N 32 -d " + tree.string(), "1M"));
}

void expect_refused(MemorySource& source, Status status, std::string_view text) {
  MountReason reason;
  const Result<Ext2> fs = Ext2::mount(source, &reason);
  EXPECT_EQ(fs.status(), status) << text;
  EXPECT_EQ(std::string_view(reason.c_str()), text);
}

TEST(Ext2, RefusalsNameTheirReason) {
  const std::vector<std::byte> good = small_image();
  const auto with = [&](u64 offset, auto value, Status status, std::string_view text) {
    MemorySource source(good);
    source.poke(1024 + offset, value);
    expect_refused(source, status, text);
  };
  with(56, u16{0x1234}, Status::corrupt, "bad magic 0x1234");
  with(76, u32{2}, Status::not_supported, "revision 2 not supported");
  with(24, u32{6}, Status::not_supported, "block size 65536 not supported");
  with(24, u32{40}, Status::corrupt, "block size 2^(40 + 10)");
  with(96, u32{0x42}, Status::not_supported, "incompatible feature 0x40 (extents)");
  with(96, u32{0x82}, Status::not_supported, "incompatible feature 0x80 (64bit)");
  with(96, u32{0x12}, Status::not_supported, "incompatible feature 0x10 (meta_bg)");
  with(96, u32{0x80000000}, Status::not_supported, "incompatible feature 0x80000000 (unknown)");
  with(96, u32{0x6}, Status::not_supported, "the journal needs recovery");
  with(100, u32{0x200}, Status::not_supported, "feature bigalloc not supported");
  with(20, u32{0}, Status::corrupt, "first data block 0 where 1 is due");
  with(4, u32{1025}, Status::corrupt, "1025 blocks of 1024 bytes on a device of 1048576");
  with(4, u32{1}, Status::corrupt, "1 blocks are too few");
  with(32, u32{0}, Status::corrupt, "0 blocks per group");
  with(32, u32{8193}, Status::corrupt, "8193 blocks per group");
  with(40, u32{0}, Status::corrupt, "0 inodes per group");
  with(0, u32{31}, Status::corrupt, "31 inodes in 1 groups of 32");
  with(88, u16{100}, Status::corrupt, "inode size 100");
  with(88, u16{2048}, Status::corrupt, "inode size 2048");
  with(1024 + 8, u32{5000}, Status::corrupt, "inode table of group 0: Corrupt");
  with(1024 + 8, u32{1000}, Status::corrupt, "root directory cannot be read: NotFound");

  MemorySource tiny(std::vector<std::byte>(2047));
  expect_refused(tiny, Status::corrupt, "device of 2047 bytes is too small for a superblock");
  MemorySource cut(std::vector<std::byte>(good.begin(), good.end() - 1));
  expect_refused(cut, Status::corrupt, "1024 blocks of 1024 bytes on a device of 1048575");
  MemorySource groups(good);
  groups.poke(1024 + 32, u32{1});  // a group for each block
  groups.poke(1024 + 0, u32{1023 * 32});
  expect_refused(groups, Status::corrupt, "inode table of group 1: Corrupt");

  MemorySource unknown_ro(good);
  unknown_ro.poke(1024 + 100, u32{0x8000});
  EXPECT_TRUE(Ext2::mount(unknown_ro).has_value());
}

// Byte offset of an inode in a 1 KiB block image of one group.
u64 inode_offset(const MemorySource& source, u32 number) {
  u32 table = 0;
  u16 inode_bytes = 0;
  std::memcpy(&table, source.bytes.data() + 2048 + 8, 4);
  std::memcpy(&inode_bytes, source.bytes.data() + 1024 + 88, 2);
  return u64{table} * 1024 + u64{number - 1} * inode_bytes;
}

TEST(Ext2, DamagedInodesAreErrors) {
  MemorySource source(small_image());
  const std::vector<std::byte> good = source.bytes;
  Ext2 probe = *Ext2::mount(source);
  const u32 file = *probe.lookup(kRootInode, "file");
  const u32 link = *probe.lookup(kRootInode, "link");
  const auto damaged = [&](u32 inode, u64 offset, auto value) {
    source.bytes = good;
    source.poke(inode_offset(source, inode) + offset, value);
    return *Ext2::mount(source);
  };
  std::byte out[4096];
  char target[4096];
  EXPECT_EQ(damaged(file, 0, u16{0x3000}).inode(file).status(), Status::corrupt);          // type
  EXPECT_EQ(damaged(file, 32, u32{0x80000}).inode(file).status(), Status::not_supported);  // extents
  EXPECT_EQ(damaged(file, 26, u16{0}).inode(file).status(), Status::not_found);            // no links
  EXPECT_EQ(damaged(file, 108, u32{0xffffffff}).inode(file).status(), Status::corrupt);    // size
  EXPECT_EQ(damaged(file, 40, u32{0xffffffff}).read(file, 0, out).status(), Status::corrupt);
  EXPECT_EQ(damaged(file, 40, u32{1}).read(file, 0, out).status(), Status::corrupt);  // the superblock
  EXPECT_EQ(damaged(file, 40 + 48, u32{1024}).read(file, 13000, out).status(), Status::corrupt);
  EXPECT_EQ(damaged(link, 4, u32{0}).read_link(link, target).status(), Status::corrupt);
  EXPECT_EQ(damaged(link, 4, u32{5000}).read_link(link, target).status(), Status::corrupt);
  // An indirect block that names itself is just read as pointers: bounded by depth.
  Ext2 self = damaged(file, 40 + 52, u32{40});
  (void)self.read(file, 300 * 1024, out);
}

TEST(Ext2, DamagedDirectoriesAreErrors) {
  MemorySource source(small_image());
  const std::vector<std::byte> good = source.bytes;
  u32 block = 0;
  std::memcpy(&block, good.data() + inode_offset(source, kRootInode) + 40, 4);
  const u64 at = u64{block} * 1024;
  const auto status = [&](u64 offset, auto value) {
    source.bytes = good;
    source.poke(at + offset, value);
    Ext2 fs = *Ext2::mount(source);
    const Status listed = fs.read_dir(kRootInode, 0, [](const DirEntry&) { return true; }).status();
    EXPECT_EQ(fs.lookup(kRootInode, "missing").status(), listed);
    return listed;
  };
  EXPECT_EQ(status(4, u16{0}), Status::corrupt);         // would never end
  EXPECT_EQ(status(4, u16{4}), Status::corrupt);         // shorter than its header
  EXPECT_EQ(status(4, u16{13}), Status::corrupt);        // misaligned
  EXPECT_EQ(status(4, u16{1028}), Status::corrupt);      // beyond the block
  EXPECT_EQ(status(4, u16{1020}), Status::corrupt);      // leaves 4 bytes
  EXPECT_EQ(status(6, u8{200}), Status::corrupt);        // name longer than the entry
  EXPECT_EQ(status(6, u8{0}), Status::corrupt);          // no name
  EXPECT_EQ(status(8, '/'), Status::corrupt);            // name
  EXPECT_EQ(status(0, u32{0xffffff}), Status::corrupt);  // inode
  source.bytes = good;
  source.poke(inode_offset(source, kRootInode) + 4, u32{1000});
  EXPECT_FALSE(Ext2::mount(source).has_value());
  source.poke(inode_offset(source, kRootInode) + 4, u32{2048});  // a hole in the directory
  Ext2 fs = *Ext2::mount(source);
  EXPECT_EQ(fs.lookup(kRootInode, "missing").status(), Status::corrupt);
}

TEST(Ext2, ErrorsOfTheSourceAreReported) {
  TemporaryFolder folder;
  const stdfs::path tree = folder.path() / "tree";
  stdfs::create_directories(tree);
  write_file(tree / "file", pattern(100000, 1));
  FileSource source(make_image(folder, "-t ext2 -b 1024 -d " + tree.string(), "2M"));
  usize failures = 0;
  for (u64 good_reads = 1;; ++good_reads) {
    source.reads = 0;
    source.fail_after = good_reads;
    const Result<void> all = [&]() -> Result<void> {
      Ext2 fs = TRY(Ext2::mount(source));
      const u32 file = TRY(fs.lookup(kRootInode, "file"));
      std::vector<std::byte> out(100000);
      TRY(fs.read(file, 0, out));
      return {};
    }();
    if (all.has_value()) break;
    ++failures;
    EXPECT_EQ(all.error(), Status::io_error);
  }
  EXPECT_GT(failures, 5u);
}

}  // namespace
}  // namespace keel::ext2
