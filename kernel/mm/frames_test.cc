#include "kernel/mm/frames.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "kernel/mm/machine_rig_test.h"

namespace keel::testing {
namespace {

TEST(Frames, GivesOutEveryFrameOnceAndTakesAllBack) {
  TestMachine m;
  const u64 total = m.frames().statistics().total;
  EXPECT_GT(total, 16384u * 98 / 100);  // the metadata takes less than 1/128
  std::vector<Frame*> taken;
  for (;;) {
    auto frame = m.frames().allocate(m.cpu(), m.root(), 0);
    if (!frame.has_value()) {
      EXPECT_EQ(frame.error(), Status::no_memory);
      break;
    }
    std::memset(phys_to_virt(m.frames().address(*frame)), 0x5a, kPageSize);
    EXPECT_EQ(m.frames().frame(m.frames().address(*frame)), *frame);
    taken.push_back(*frame);
  }
  EXPECT_EQ(taken.size(), total);
  EXPECT_EQ(m.frames().statistics().free, 0u);
  EXPECT_EQ(m.root().usage(Resource::frames), total);
  for (Frame* frame : taken) m.frames().free(m.cpu(), m.root(), frame);
  EXPECT_EQ(m.baseline().free, total);
  EXPECT_EQ(m.root().usage(Resource::frames), 0u);
}

TEST(Frames, BlocksAreAlignedAndDisjoint) {
  TestMachine m;
  const u64 seed = test_seed();
  SCOPED_TRACE(seed);
  Random random(seed);
  const auto before = m.baseline();
  struct Block {
    Frame* frame;
    u32 order;
    u8 mark;
  };
  std::vector<Block> blocks;
  for (u32 i = 0; i < 20000; ++i) {
    if (random.below(2) == 0 || blocks.empty()) {
      const u32 order = u32(random.below(8));
      auto frame = m.frames().allocate(m.cpu(), m.root(), order, FrameUse::user);
      if (!frame.has_value()) continue;
      const PhysAddr address = m.frames().address(*frame);
      ASSERT_TRUE(is_aligned(address.value, kPageSize << order));
      auto* bytes = static_cast<u8*>(phys_to_virt(address));
      const u8 mark = u8(i);
      for (u64 page = 0; page < u64{1} << order; ++page) bytes[page * kPageSize] = mark;
      blocks.push_back({*frame, order, mark});
    } else {
      const u64 at = random.below(blocks.size());
      const Block b = blocks[at];
      const auto* bytes = static_cast<const u8*>(phys_to_virt(m.frames().address(b.frame)));
      for (u64 page = 0; page < u64{1} << b.order; ++page) ASSERT_EQ(bytes[page * kPageSize], b.mark);
      m.frames().free(m.cpu(), m.root(), b.frame);
      blocks[at] = blocks.back();
      blocks.pop_back();
    }
  }
  for (const Block& b : blocks) m.frames().free(m.cpu(), m.root(), b.frame);
  EXPECT_EQ(m.baseline(), before);
}

TEST(Frames, LargeMachineStartsColdAndReachesAllItsMemory) {
  TestMachine m(u64{8} << 30);
  const auto s = m.frames().statistics();
  EXPECT_GT(s.total, (8ull << 30) / kPageSize * 99 / 100);
  std::vector<Frame*> blocks;  // touches the metadata of all chunks
  for (;;) {
    auto frame = m.frames().take(m.cpu(), FrameAllocator::kMaxOrder, FrameUse::user);
    if (!frame.has_value()) break;
    blocks.push_back(*frame);
  }
  EXPECT_GE(blocks.size(), 2030u);
  for (Frame* frame : blocks) m.frames().give(m.cpu(), frame);
  EXPECT_EQ(m.baseline().free, s.total);
}

TEST(Frames, LeavesAloneWhatIsInUse) {
  TestMachine host;  // lends its RAM to a second machine with a fragmented map
  const PhysRange all = host.range(0, 64 * kMiB);
  const auto part = [&](u64 offset, u64 bytes) { return PhysRange{all.base + offset, bytes}; };
  const PhysRange ram[] = {part(8 * kMiB, 20 * kMiB + 123), part(0, 3 * kMiB - 5), part(28 * kMiB, 36 * kMiB)};
  const PhysRange in_use[] = {part(9 * kMiB + 1, 1), part(20 * kMiB, 2 * kMiB), part(0, kPageSize)};
  auto owner = std::make_unique<Machine>();
  Machine& machine = *owner;
  auto boot_cpu = std::make_unique<Cpu>(machine, 0);
  Cpu& cpu = *boot_cpu;
  MUST(machine.frames.initialise(ram, in_use));
  u64 count = 0;
  for (;; ++count) {
    auto frame = machine.frames.take(cpu, 0, FrameUse::user);
    if (!frame.has_value()) break;
    const PhysRange page{machine.frames.address(*frame), kPageSize};
    bool inside = false;
    for (const PhysRange& r : ram) inside |= r.base <= page.base && page.end() <= r.end();
    ASSERT_TRUE(inside);
    for (const PhysRange& r : in_use) ASSERT_FALSE(r.base < page.end() && page.base < r.end());
  }
  EXPECT_EQ(count, machine.frames.statistics().total);
  EXPECT_TRUE(machine.frames.overlaps_ram(part(20 * kMiB, 1)));
  EXPECT_FALSE(machine.frames.overlaps_ram(part(4 * kMiB, kMiB)));
}

TEST(Frames, TrimmedBlockGoesBackWhole) {
  TestMachine m;
  const auto before = m.baseline();
  for (u64 pages : {1u, 2u, 3u, 100u, 513u, 1000u, 1023u, 1024u}) {
    Frame* frame = MUST(m.frames().take(m.cpu(), u32(std::bit_width(pages - 1)), FrameUse::user));
    m.frames().trim(m.cpu(), frame, pages);
    EXPECT_EQ(m.frames().statistics().user, pages);
    m.frames().give_span(m.cpu(), frame, pages);
    EXPECT_EQ(m.baseline(), before);
  }
}

TEST(Frames, QuotaStopsBeforeMemoryDoes) {
  TestMachine m;
  m.root().set_limit(Resource::frames, 3);
  Frame* frame = MUST(m.frames().allocate(m.cpu(), m.root(), 1));
  EXPECT_EQ(m.frames().allocate(m.cpu(), m.root(), 1).status(), Status::quota_exceeded);
  EXPECT_EQ(m.root().usage(Resource::frames), 2u);
  m.frames().free(m.cpu(), m.root(), frame);
}

TEST(Frames, TooLittleRamIsAnError) {
  FrameAllocator frames;
  EXPECT_EQ(frames.initialise({}, {}).status(), Status::no_memory);
  const PhysRange tiny[] = {{PhysAddr(0x100001), 0x1ffe}};
  EXPECT_EQ(frames.initialise(tiny, {}).status(), Status::no_memory);
}

}  // namespace
}  // namespace keel::testing
