#include "kernel/mm/heap.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "kernel/mm/machine_rig_test.h"

namespace keel::testing {
namespace {

KernelHeap& heap(TestMachine& m) { return m.machine().heap; }

TEST(Heap, EverySizeIsUsableAndComesBack) {
  TestMachine m;
  const auto before = m.baseline();
  for (usize bytes : {1u, 16u, 24u, 25u, 64u, 100u, 128u, 192u, 320u, 448u, 500u, 1024u, 1528u, 2040u, 2041u, 2048u,
                      4096u, 5000u, 65536u}) {
    std::vector<void*> objects;
    for (int i = 0; i < 40; ++i) {
      void* object = MUST(heap(m).allocate(m.cpu(), m.root(), bytes));
      EXPECT_TRUE(is_aligned(reinterpret_cast<u64>(object), bytes % 64 == 0 ? 64 : 16));
      std::memset(object, i, bytes);
      objects.push_back(object);
    }
    for (int i = 0; i < 40; ++i) {
      EXPECT_EQ(static_cast<u8*>(objects[i])[bytes - 1], i);
      heap(m).free(m.cpu(), m.root(), objects[i], bytes);
    }
    EXPECT_EQ(m.baseline(), before) << bytes;
  }
  EXPECT_EQ(heap(m).allocate(m.cpu(), m.root(), KernelHeap::kMaxBytes + 1).status(), Status::too_big);
  EXPECT_EQ(heap(m).allocate(m.cpu(), m.root(), ~usize{0}).status(), Status::too_big);
}

TEST(Heap, RandomUseKeepsContentsApart) {
  TestMachine m;
  const u64 seed = test_seed();
  SCOPED_TRACE(seed);
  Random random(seed);
  const auto before = m.baseline();
  struct Object {
    u8* memory;
    usize bytes;
    u8 mark;
  };
  std::vector<Object> objects;
  for (u32 i = 0; i < 30000; ++i) {
    if (random.below(5) < 3 && objects.size() < 2000) {
      const usize bytes = 1 + random.below(random.below(8) == 0 ? 9000 : 700);
      auto* memory = static_cast<u8*>(MUST(heap(m).allocate(m.cpu(), m.root(), bytes)));
      std::memset(memory, u8(i), bytes);
      objects.push_back({memory, bytes, u8(i)});
    } else if (!objects.empty()) {
      const u64 at = random.below(objects.size());
      const Object o = objects[at];
      for (usize b = 0; b < o.bytes; ++b) ASSERT_EQ(o.memory[b], o.mark);
      heap(m).free(m.cpu(), m.root(), o.memory, o.bytes);
      objects[at] = objects.back();
      objects.pop_back();
    }
  }
  for (const Object& o : objects) heap(m).free(m.cpu(), m.root(), o.memory, o.bytes);
  EXPECT_EQ(m.baseline(), before);
}

TEST(Heap, ChargesTheGroupAndStopsAtItsLimit) {
  TestMachine m;
  m.root().set_limit(Resource::kernel_bytes, 100);
  void* object = MUST(heap(m).allocate(m.cpu(), m.root(), 50));
  EXPECT_EQ(m.root().usage(Resource::kernel_bytes), 64u);
  EXPECT_EQ(heap(m).allocate(m.cpu(), m.root(), 50).status(), Status::quota_exceeded);
  EXPECT_EQ(heap(m).allocate(m.cpu(), m.root(), 5000).status(), Status::quota_exceeded);
  heap(m).free(m.cpu(), m.root(), object, 50);
  EXPECT_EQ(m.root().usage(Resource::kernel_bytes), 0u);
}

TEST(Heap, EveryAllocationMayFail) {
  TestMachine m;
  const u64 failures = sweep_allocation_failures(m, [&] {
    std::vector<std::pair<void*, usize>> objects;
    Status status = Status::ok;
    for (usize bytes : {100u, 700u, 3000u, 100u}) {
      auto object = heap(m).allocate(m.cpu(), m.root(), bytes);
      if (!object.has_value()) {
        status = object.error();
        break;
      }
      objects.push_back({*object, bytes});
    }
    for (auto [object, bytes] : objects) heap(m).free(m.cpu(), m.root(), object, bytes);
    return status;
  });
  EXPECT_GE(failures, 4u);
}

TEST(HeapDeathTest, OverrunAndDoubleFreeAndUseAfterFreeAreCaught) {
  TestMachine m;
  auto* object = static_cast<volatile u8*>(MUST(heap(m).allocate(m.cpu(), m.root(), 100)));
  auto* plain = const_cast<u8*>(object);
#if __has_feature(address_sanitizer)
  EXPECT_DEATH(object[104] = 1, "");
#endif
  heap(m).free(m.cpu(), m.root(), plain, 100);
#if __has_feature(address_sanitizer)
  EXPECT_DEATH(object[50] = 1, "");
#endif
  EXPECT_DEATH(heap(m).free(m.cpu(), m.root(), plain, 100), "");
}

}  // namespace
}  // namespace keel::testing
