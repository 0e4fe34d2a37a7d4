#include "base/byte_reader.h"

#include <gtest/gtest.h>

#include <array>

namespace keel {
namespace {

constexpr std::array<u8, 12> kBytes = {1, 2, 3, 4, 5, 6, 7, 8, 'a', 'b', 0, 'c'};
const ByteReader kReader(std::as_bytes(std::span(kBytes)));

TEST(ByteReader, ReadsLittleEndianAtAnyOffset) {
  EXPECT_EQ(*kReader.read_u8(0), 1);
  EXPECT_EQ(*kReader.read_u16(1), 0x0302);
  EXPECT_EQ(*kReader.read_u32(1), 0x05040302u);
  EXPECT_EQ(*kReader.read_u64(0), 0x0807060504030201u);
}

TEST(ByteReader, RefusesWhatLiesOutside) {
  EXPECT_EQ(kReader.read_u8(12).status(), Status::out_of_range);
  EXPECT_EQ(kReader.read_u16(11).status(), Status::out_of_range);
  EXPECT_EQ(kReader.read_u32(9).status(), Status::out_of_range);
  EXPECT_EQ(kReader.read_u64(5).status(), Status::out_of_range);
  EXPECT_EQ(kReader.read_u64(UINT64_MAX).status(), Status::out_of_range);
  EXPECT_EQ(kReader.read_u64(UINT64_MAX - 3).status(), Status::out_of_range);
  EXPECT_EQ(kReader.subspan(4, UINT64_MAX).status(), Status::out_of_range);
  EXPECT_EQ(kReader.subspan(12, 0)->size(), 0u);
  EXPECT_EQ(kReader.subspan(13, 0).status(), Status::out_of_range);
  EXPECT_EQ(ByteReader().read_u8(0).status(), Status::out_of_range);
}

TEST(ByteReader, SubReaderSeesOnlyItsPart) {
  const ByteReader sub = *kReader.sub_reader(2, 4);
  EXPECT_EQ(*sub.read_u32(0), 0x06050403u);
  EXPECT_EQ(sub.read_u8(4).status(), Status::out_of_range);
}

TEST(ByteReader, CstringNeedsItsNul) {
  EXPECT_EQ(*kReader.cstring(8, 2), "ab");
  EXPECT_EQ(*kReader.cstring(10, 0), "");
  EXPECT_EQ(kReader.cstring(8, 1).status(), Status::corrupt);
  EXPECT_EQ(kReader.cstring(11, 100).status(), Status::corrupt);
  EXPECT_EQ(kReader.cstring(12, 100).status(), Status::corrupt);
  EXPECT_EQ(kReader.cstring(13, 100).status(), Status::out_of_range);
}

}  // namespace
}  // namespace keel
