#include "user/runtime/heap.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "base/types.h"

namespace keel {
namespace {

class TestPages final : public PageSource {
 public:
  void* map(u64 pages) override {
    if (pages > limit - used) return nullptr;
    used += pages;
    return std::aligned_alloc(kPageSize, pages * kPageSize);
  }
  void unmap(void* address, u64 pages) override {
    used -= pages;
    std::free(address);
  }
  u64 limit = 1 << 20;
  u64 used = 0;
};

TEST(Heap, BlocksAreAlignedLargeEnoughAndDoNotOverlap) {
  static TestPages pages;  // chunks are never given back: reachable to the end
  static Heap heap(pages);
  std::mt19937_64 random(1);
  struct Block {
    u8* at;
    usize bytes;
    u8 fill;
  };
  std::vector<Block> live;
  for (u32 round = 0; round < 50000; ++round) {
    if (live.empty() || random() % 5 < 3) {
      const usize bytes = random() % (random() % 50 == 0 ? 100000 : random() % 5 == 0 ? 5000 : 200);
      const usize alignment = usize{1} << random() % 13;
      u8* at = static_cast<u8*>(heap.allocate(bytes, alignment));
      ASSERT_NE(at, nullptr);
      ASSERT_TRUE(is_aligned(reinterpret_cast<u64>(at), alignment < 16 ? 16 : alignment));
      ASSERT_GE(Heap::usable_bytes(at), bytes);
      std::memset(at, static_cast<u8>(round), bytes);
      live.push_back({at, bytes, static_cast<u8>(round)});
    } else {
      const usize i = random() % live.size();
      for (usize k = 0; k < live[i].bytes; ++k) ASSERT_EQ(live[i].at[k], live[i].fill);
      heap.free(live[i].at);
      live[i] = live.back();
      live.pop_back();
    }
  }
  for (const Block& b : live) heap.free(b.at);
}

TEST(Heap, EveryClassHoldsWhatItIsFor) {
  static TestPages pages;
  static Heap heap(pages);
  for (usize bytes = 0; bytes <= 40000; ++bytes) {
    void* block = heap.allocate(bytes);
    const usize usable = Heap::usable_bytes(block);
    ASSERT_GE(usable, bytes);
    if (bytes > 128 && bytes <= 32768) {
      ASSERT_LE(usable, bytes + bytes / 4 + 16);
    }
    heap.free(block);
  }
}

TEST(Heap, NoMemoryIsNull) {
  static TestPages pages;
  static Heap heap(pages);
  pages.limit = 0;
  EXPECT_EQ(heap.allocate(1), nullptr);
  EXPECT_EQ(heap.allocate(1 << 20), nullptr);
  EXPECT_EQ(heap.allocate(~usize{0}), nullptr);
  EXPECT_EQ(heap.allocate(~usize{0} - 100, 64), nullptr);
  EXPECT_EQ(heap.allocate(1, 8192), nullptr);
  pages.limit = 64;
  void* block = heap.allocate(1);
  EXPECT_NE(block, nullptr);
  heap.free(block);
}

TEST(HeapDeathTest, DoubleFreeTraps) {
  static TestPages pages;
  static Heap heap(pages);
  void* block = heap.allocate(100);
  heap.free(block);
  EXPECT_DEATH(heap.free(block), "");
}

}  // namespace
}  // namespace keel
