#include "user/runtime/cpio.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace keel {
namespace {

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

struct Header {
  u32 mode = 0100644;
  u32 links = 1;
  i64 name_size = -1;  // -1: what the name needs
  i64 file_size = -1;
  std::string magic = "070701";
};

void add(std::string* out, const std::string& name, const std::string& data, const Header& header = {}) {
  char text[128];
  std::snprintf(text, sizeof text, "%s%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", header.magic.c_str(), 1u,
                header.mode, 0u, 0u, header.links, 7u,
                header.file_size < 0 ? static_cast<u32>(data.size()) : static_cast<u32>(header.file_size), 0u, 0u, 0u,
                0u, header.name_size < 0 ? static_cast<u32>(name.size() + 1) : static_cast<u32>(header.name_size), 0u);
  *out += text + name + '\0';
  out->resize((out->size() + 3) / 4 * 4);
  *out += data;
  out->resize((out->size() + 3) / 4 * 4);
}

TEST(Cpio, FindsEntriesInOrder) {
  std::string archive;
  add(&archive, "./bin", "", {.mode = 040755, .links = 2});
  add(&archive, "bin/a", "alpha");
  add(&archive, "/b", "", {.mode = 0100755});
  add(&archive, "link", "b", {.mode = 0120777});
  add(&archive, "TRAILER!!!", "anything");
  const CpioArchive cpio = *CpioArchive::open(bytes(archive));
  EXPECT_EQ(cpio.entry_count(), 4u);
  std::string names;
  for (const CpioEntry& entry : cpio) names += std::string(entry.name) + ";";
  EXPECT_EQ(names, "bin;bin/a;b;link;");
  const CpioEntry a = *cpio.find("/bin/a");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(a.data.data()), a.data.size()), "alpha");
  EXPECT_EQ(a.mtime, 7u);
  EXPECT_EQ(cpio.find("bin")->type, CpioType::directory);
  EXPECT_EQ(cpio.find("b")->mode, 0755);
  EXPECT_EQ(cpio.find("link")->type, CpioType::symlink);
  EXPECT_EQ(cpio.find("bin/").status(), Status::not_found);
  EXPECT_EQ(cpio.find("").status(), Status::not_found);
  EXPECT_EQ(CpioArchive().entry_count(), 0u);
}

TEST(Cpio, RefusesWhatIsNotSound) {
  const auto outcome = [](const std::string& name, const std::string& data, const Header& header) {
    std::string archive;
    add(&archive, name, data, header);
    add(&archive, "TRAILER!!!", "");
    return CpioArchive::open(bytes(archive)).status();
  };
  EXPECT_EQ(outcome("a", "data", {}), Status::ok);
  EXPECT_EQ(outcome("a", "data", {.file_size = 0x7fffffff}), Status::corrupt);
  EXPECT_EQ(outcome("a", "data", {.file_size = 0xffffffff}), Status::corrupt);
  EXPECT_EQ(outcome("a", "data", {.name_size = 0}), Status::corrupt);
  EXPECT_EQ(outcome("a", "data", {.name_size = 1}), Status::corrupt);
  EXPECT_EQ(outcome("a", "data", {.name_size = 0xffffffff}), Status::corrupt);
  EXPECT_EQ(outcome("", "data", {}), Status::corrupt);
  EXPECT_EQ(outcome("/", "data", {}), Status::corrupt);
  EXPECT_EQ(outcome(std::string(256, 'n'), "", {}), Status::corrupt);
  EXPECT_EQ(outcome("a", "", {.mode = 020644}), Status::not_supported);
  EXPECT_EQ(outcome("a", "", {.links = 2}), Status::not_supported);
  EXPECT_EQ(outcome("a", "", {.magic = "070702"}), Status::not_supported);
  EXPECT_EQ(outcome("a", "", {.magic = "070X01"}), Status::corrupt);
  EXPECT_EQ(CpioArchive::open({}).status(), Status::corrupt);
  std::string no_trailer;
  add(&no_trailer, "a", "x");
  EXPECT_EQ(CpioArchive::open(bytes(no_trailer)).status(), Status::corrupt);
  std::string bad_digit;
  add(&bad_digit, "TRAILER!!!", "");
  bad_digit[6 + 8 * 11] = 'g';
  EXPECT_EQ(CpioArchive::open(bytes(bad_digit)).status(), Status::corrupt);
}

TEST(Cpio, EveryTruncationIsRefused) {
  std::string archive;
  add(&archive, "file", "some data");
  add(&archive, "TRAILER!!!", "");
  for (usize n = 0; n + 2 < archive.size(); ++n) {  // the last two bytes pad
    EXPECT_FALSE(CpioArchive::open(bytes(archive.substr(0, n))).has_value() && n < archive.size() - 3) << n;
  }
}

// tools/mkinitrd, run from the root of the tree or from below it.
std::string mkinitrd() {
  for (auto folder = std::filesystem::path(__FILE__).is_absolute() ? std::filesystem::path(__FILE__).parent_path()
                                                                   : std::filesystem::current_path();
       ; folder = folder.parent_path()) {
    if (std::filesystem::exists(folder / "tools/mkinitrd")) return (folder / "tools/mkinitrd").string();
    if (folder == folder.root_path()) return "";
  }
}

TEST(Cpio, ReadsWhatMkinitrdMakesAlignedAndRepeatably) {
  if (mkinitrd().empty()) GTEST_SKIP() << "tools/mkinitrd not found from here";
  std::string folder = (std::filesystem::temp_directory_path() / "keel-cpio-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  std::ofstream(folder + "/one") << std::string(5000, '1');
  std::ofstream(folder + "/two") << "";
  std::ofstream(folder + "/three") << "three";
  std::filesystem::permissions(folder + "/three", std::filesystem::perms::owner_all);
  const std::string command = mkinitrd() + " " + folder + "/out bin/one=" + folder + "/one etc/deep/two=" + folder +
                              "/two bin/three=" + folder + "/three";
  ASSERT_EQ(std::system(command.c_str()), 0);
  const auto read = [&](const std::string& name) {
    std::ifstream in(folder + name, std::ios::binary);
    return std::string{std::istreambuf_iterator<char>(in), {}};
  };
  const std::string archive = read("/out");
  ASSERT_EQ(std::system(command.c_str()), 0);
  EXPECT_TRUE(read("/out") == archive);
  const CpioArchive cpio = *CpioArchive::open(bytes(archive));
  EXPECT_EQ(cpio.entry_count(), 6u);
  for (const CpioEntry& entry : cpio) {
    EXPECT_EQ(entry.mtime, 0u);
    if (!entry.data.empty()) {
      EXPECT_EQ((reinterpret_cast<const char*>(entry.data.data()) - archive.data()) % 4096, 0) << entry.name;
    }
  }
  EXPECT_EQ(cpio.find("bin/one")->data.size(), 5000u);
  EXPECT_EQ(cpio.find("bin/three")->mode, 0755);
  EXPECT_EQ(cpio.find("etc/deep")->type, CpioType::directory);
  if (std::system("command -v cpio >/dev/null") == 0) {
    ASSERT_EQ(std::system(("cpio -t --quiet <" + folder + "/out >" + folder + "/list").c_str()), 0);
    EXPECT_EQ(read("/list"), "bin\netc\netc/deep\nbin/one\nbin/three\netc/deep/two\n");
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace keel
