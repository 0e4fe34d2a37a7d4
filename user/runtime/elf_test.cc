#include "user/runtime/elf.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace keel {
namespace {

// A file built field by field: a read-only segment with the headers, a text and a data segment.
class Builder {
 public:
  Builder() {
    bytes.resize(0x4000);
    put(0, u32{0x464c457f});
    put(4, u8{2});
    put(5, u8{1});
    put(6, u8{1});
    put(16, u16{3});
    put(18, u16{62});
    put(20, u32{1});
    put(24, u64{0x1100});  // entry
    put(32, u64{64});
    put(52, u16{64});
    put(54, u16{56});
    header(4, 0x1000, 0, 0, 0x800, 0x800);
    header(5, 0x1000, 0x1000, 0x1000, 0x900, 0x900);
    header(6, 0x1000, 0x2010, 0x3010, 0x500, 0x2500);
  }
  template <class T>
  void put(u64 offset, T value) {
    std::memcpy(bytes.data() + offset, &value, sizeof value);
  }
  static u64 at(u32 index) { return 64 + u64{index} * 56; }
  u32 header(u32 flags, u64 align, u64 offset, u64 vaddr, u64 file_size, u64 mem_size, u32 type = 1) {
    const u64 p = at(count);
    put(p, type);
    put(p + 4, flags);
    put(p + 8, offset);
    put(p + 16, vaddr);
    put(p + 32, file_size);
    put(p + 40, mem_size);
    put(p + 48, align);
    put(56, static_cast<u16>(++count));
    return count - 1;
  }
  std::string outcome() {
    const char* reason = "accepted";
    const Result<ElfImage> image = parse_elf(bytes, &reason);
    EXPECT_EQ(image.has_value(), std::string_view(reason) == "accepted");
    return reason;
  }
  std::vector<std::byte> bytes;
  u32 count = 0;
};

TEST(Elf, DescribesASoundFile) {
  Builder b;
  b.header(4, 16, 0x2100, 0x3100, 0x10, 0x40, 7);
  b.header(6, 8, 0x2200, 0x3200, 0x100, 0x100, 2);
  b.header(4, 1, 0x2010, 0x3010, 0x1000, 0xff0, 0x6474e552);
  const ElfImage image = *parse_elf(b.bytes);
  ASSERT_EQ(image.segments().size(), 3u);
  EXPECT_EQ(image.entry, 0x1100u);
  EXPECT_EQ(image.first_page, 0u);
  EXPECT_EQ(image.end_page, 0x6000u);
  EXPECT_EQ(image.program_headers, 64u);
  EXPECT_EQ(image.program_header_count, 6);
  EXPECT_TRUE(image.segments()[1].executable);
  EXPECT_TRUE(image.segments()[2].writable);
  EXPECT_EQ(image.segments()[2].file_offset, 0x2010u);
  EXPECT_EQ(image.segments()[2].file_size, 0x500u);
  EXPECT_EQ(image.segments()[2].mem_size, 0x2500u);
  EXPECT_EQ(image.tls->vaddr, 0x3100u);
  EXPECT_EQ(image.tls->mem_size, 0x40u);
  EXPECT_EQ(image.tls->alignment, 16u);
  EXPECT_EQ(image.dynamic->vaddr, 0x3200u);
  EXPECT_EQ(image.relro->size, 0xff0u);
}

template <class T>
std::string with(u64 offset, T value) {
  Builder b;
  b.put(offset, value);
  return b.outcome();
}

TEST(Elf, RefusesOtherKindsOfFile) {
  EXPECT_EQ(Builder().outcome(), "accepted");
  EXPECT_EQ(with(0, u8{0}), "bad magic");
  EXPECT_EQ(with(4, u8{1}), "not 64-bit");
  EXPECT_EQ(with(5, u8{2}), "not little-endian");
  EXPECT_EQ(with(7, u8{9}), "unknown OS ABI");
  EXPECT_EQ(with(16, u16{2}), "not position-independent");
  EXPECT_EQ(with(18, u16{183}), "not for x86_64");
  EXPECT_EQ(with(52, u16{63}), "bad header size");
  EXPECT_EQ(with(54, u16{32}), "bad program header size");
  EXPECT_EQ(with(56, u16{0}), "no program headers");
  EXPECT_EQ(with(56, u16{65}), "too many program headers");
  EXPECT_EQ(with(32, u64{0x3fe0}), "program headers outside the file");
  EXPECT_EQ(with(32, ~u64{0}), "program headers outside the file");
  const char* reason = nullptr;
  EXPECT_EQ(parse_elf({}, &reason).status(), Status::corrupt);
  EXPECT_STREQ(reason, "shorter than an ELF header");
}

TEST(Elf, RefusesUnsoundSegments) {
  const u64 text = Builder::at(1);
  const u64 data = Builder::at(2);
  EXPECT_EQ(with(text + 4, u32{7}), "segment writable and executable");
  EXPECT_EQ(with(text + 4, u32{1}), "segment not readable");
  EXPECT_EQ(with(text + 48, u64{16}), "segment not page-aligned");
  EXPECT_EQ(with(text + 48, u64{0x3000}), "segment not page-aligned");
  EXPECT_EQ(with(text + 8, u64{0x1010}), "segment address and file offset disagree");
  EXPECT_EQ(with(text + 32, u64{0x901}), "segment larger in the file than in memory");
  EXPECT_EQ(with(text + 40, u64{0}), "empty segment");
  EXPECT_EQ(with(data + 8, u64{0x4010}), "segment outside the file");
  EXPECT_EQ(with(data + 8, ~u64{0} - 0xfef), "segment outside the file");
  EXPECT_EQ(with(data + 16, ~u64{0} - 0xfef), "segment wraps around");
  EXPECT_EQ(with(data + 40, u64{0x40000001}), "segment larger than 1 GiB");
  EXPECT_EQ(with(data + 16, u64{0x1010}), "segments overlap or are not in ascending order");
  EXPECT_EQ(with(text + 40, u64{0x2001}), "segments overlap or are not in ascending order");
  EXPECT_EQ(with(data + 16, u64{0x200000010}), "image spans too much");
  EXPECT_EQ(with(24, u64{0x10}), "entry outside an executable segment");
  EXPECT_EQ(with(24, u64{0x1900}), "entry outside an executable segment");
  EXPECT_EQ(with(24, ~u64{0}), "entry outside an executable segment");
  Builder many;
  for (u64 i = 0; i < 13; ++i) many.header(4, 0x1000, 0, 0x10000 + i * 0x1000, 16, 16);
  EXPECT_EQ(many.outcome(), "accepted");
  many.header(4, 0x1000, 0, 0x100000, 16, 16);
  EXPECT_EQ(many.outcome(), "too many segments");
}

TEST(Elf, RefusesUnsoundOtherHeaders) {
  const auto extra = [](u32 type, u32 flags, u64 align, u64 vaddr, u64 file_size, u64 mem_size) {
    Builder b;
    b.header(flags, align, 0, vaddr, file_size, mem_size, type);
    return b.outcome();
  };
  EXPECT_EQ(extra(3, 4, 1, 0x200, 10, 10), "needs an interpreter");
  EXPECT_EQ(extra(0x6474e551, 7, 16, 0, 0, 0), "executable stack");
  EXPECT_EQ(extra(0x6474e551, 6, 16, 0, 0, 0), "accepted");
  EXPECT_EQ(extra(7, 4, 3, 0x3100, 8, 8), "bad TLS alignment");
  EXPECT_EQ(extra(7, 4, 0x2000, 0x3100, 8, 8), "bad TLS alignment");
  EXPECT_EQ(extra(7, 4, 8, 0x3100, 9, 8), "bad TLS size");
  EXPECT_EQ(extra(7, 4, 8, 0x350c, 8, 8), "TLS outside the segments");
  EXPECT_EQ(extra(7, 4, 8, 0x9000, 0, 8), "accepted");  // nothing to copy
  EXPECT_EQ(extra(2, 4, 8, 0x9000, 8, 8), "dynamic section outside the segments");
  EXPECT_EQ(extra(2, 4, 8, 0x3010, 8, ~u64{0}), "dynamic section outside the segments");
  EXPECT_EQ(extra(0x6474e552, 4, 1, 0x1000, 8, 8), "RELRO outside a writable segment");
  EXPECT_EQ(extra(0x6474e552, 4, 1, 0x3010, 8, 0x5000), "RELRO outside a writable segment");
}

TEST(Elf, EveryTruncationOfASoundFileIsSafe) {
  const Builder b;
  for (usize n = 0; n < b.bytes.size(); n += n < 300 ? 1 : 97) {
    EXPECT_FALSE(
        parse_elf(std::vector<std::byte>(b.bytes.begin(), b.bytes.begin() + static_cast<long>(n))).has_value() &&
        n < 0x2510);
  }
}

TEST(Elf, AcceptsWhatTheToolchainMakes) {
  std::string folder = (std::filesystem::temp_directory_path() / "keel-elf-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  std::ofstream(folder + "/a.cc")
      << "int x[3000]; int y = 5; int* z = &y; const char* const names[] = {\"a\", \"b\"};\n"
         "extern \"C\" int start(int i) { return x[i] + *z + names[i & 1][0]; }\n";
  const std::string command =
      "cd " + folder +
      " && clang++-19 --target=x86_64-unknown-none-elf -ffreestanding -fPIE -c a.cc -o a.o && ld.lld-19 -pie "
      "--no-dynamic-linker -z separate-code -z relro -z now -z noexecstack -e start a.o -o a.elf";
  ASSERT_EQ(std::system(command.c_str()), 0);
  std::ifstream in(folder + "/a.elf", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  std::filesystem::remove_all(folder);
  const char* reason = "";
  const Result<ElfImage> image = parse_elf(std::as_bytes(std::span(text)), &reason);
  ASSERT_TRUE(image.has_value()) << reason;
  EXPECT_GE(image->segments().size(), 3u);
  EXPECT_TRUE(image->dynamic.has_value());
}

}  // namespace
}  // namespace keel
