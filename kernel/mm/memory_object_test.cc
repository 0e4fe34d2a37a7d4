#include "kernel/mm/memory_object.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "kernel/mm/machine_rig_test.h"

namespace keel::testing {
namespace {

u64* words(PhysAddr page) { return static_cast<u64*>(phys_to_virt(page)); }

TEST(MemoryObject, PagesAppearZeroedWhenTouchedAndStay) {
  TestMachine m;
  const auto before = m.baseline();
  for (u64 pages : {u64{1}, u64{8}, u64{9}, u64{4096}, u64{4097}, u64{3'000'000}, MemoryObject::kMaxPages}) {
    auto object = MUST(MemoryObject::create_anonymous(m.cpu(), m.root(), pages));
    EXPECT_GE(m.root().usage(Resource::frames), pages);
    std::map<u64, PhysAddr> touched;
    for (u64 index : {u64{0}, pages / 2, pages / 3, pages - 1}) {
      if (!touched.contains(index)) {
        EXPECT_EQ(object->existing_page(m.cpu(), index).status(), Status::not_found);
        touched[index] = MUST(object->page(m.cpu(), index, Access::write));
        for (u64 i = 0; i < 512; ++i) ASSERT_EQ(words(touched[index])[i], 0u);
        words(touched[index])[7] = index + 1;
      }
    }
    for (auto [index, page] : touched) {
      EXPECT_EQ(MUST(object->page(m.cpu(), index, Access::read)), page);
      EXPECT_EQ(MUST(object->existing_page(m.cpu(), index)), page);
      EXPECT_EQ(words(page)[7], index + 1);
    }
    EXPECT_EQ(object->page(m.cpu(), pages, Access::read).status(), Status::out_of_range);
    object.reset();
    EXPECT_EQ(m.baseline(), before) << pages;
  }
}

TEST(MemoryObject, FramesZeroedAheadAreUsedFirstAndZero) {
  TestMachine m;
  const auto before = m.baseline();
  {
    auto object = MUST(MemoryObject::create_anonymous(m.cpu(), m.root(), 8));
    while (m.frames().zero_ahead(m.cpu())) {
    }
    EXPECT_EQ(m.frames().statistics().free, before.free - 1);  // the heap's slab; those ahead count as free
    for (u64 i = 0; i < 8; ++i) {
      const PhysAddr page = MUST(object->page(m.cpu(), i, Access::write));
      for (u64 w = 0; w < 512; ++w) ASSERT_EQ(words(page)[w], 0u);
      words(page)[i] = 1;
    }
    // The very last frame is given out, too, and zeroing ahead stops then.
    std::vector<Frame*> all;
    for (;;) {
      auto frame = m.frames().take(m.cpu(), 0, FrameUse::user);
      if (!frame.has_value()) break;
      all.push_back(*frame);
      if (all.size() % 1000 == 0) m.frames().zero_ahead(m.cpu());
    }
    EXPECT_EQ(m.frames().statistics().free, 0u);
    EXPECT_FALSE(m.frames().zero_ahead(m.cpu()));
    for (Frame* frame : all) m.frames().give(m.cpu(), frame);
  }
  EXPECT_EQ(m.baseline(), before);
}

TEST(MemoryObject, SizesAreChecked) {
  TestMachine m;
  EXPECT_EQ(MemoryObject::create_anonymous(m.cpu(), m.root(), 0).status(), Status::invalid_argument);
  EXPECT_EQ(MemoryObject::create_anonymous(m.cpu(), m.root(), ~u64{0}).status(), Status::too_big);
  EXPECT_EQ(MemoryObject::create_contiguous(m.cpu(), m.root(), 1025).status(), Status::too_big);
  EXPECT_EQ(MemoryObject::create_physical(m.cpu(), m.root(), PhysAddr(1), 1, CacheMode::uncached).status(),
            Status::misaligned);
  EXPECT_EQ(MemoryObject::create_physical(m.cpu(), m.root(), PhysAddr(~u64{0xfff}), 1, CacheMode::uncached).status(),
            Status::out_of_range);
}

TEST(MemoryObject, CommitIsChargedWhenMadeAndNeverExceeded) {
  TestMachine m;
  auto group = MUST(ResourceGroup::create(m.cpu(), m.root()));
  group->set_limit(Resource::frames, 100);
  EXPECT_EQ(MemoryObject::create_anonymous(m.cpu(), *group, 100).status(), Status::quota_exceeded);  // + 1 node
  auto object = MUST(MemoryObject::create_anonymous(m.cpu(), *group, 99));
  for (u64 done = 0; done < 99;) {
    const u64 step = MUST(object->commit(m.cpu(), done, 99 - done));
    EXPECT_LE(step, u64{MemoryObject::kZeroBatch});
    done += step;
  }
  EXPECT_EQ(group->usage(Resource::frames), 100u);
  const auto s = m.frames().statistics();
  EXPECT_EQ(s.user, 99u);
  EXPECT_EQ(MUST(object->commit(m.cpu(), 0, 99)), u64{MemoryObject::kPinBatch});  // they exist: faster
}

TEST(MemoryObject, ReleaseIsBounded) {
  TestMachine m;
  const auto before = m.baseline();
  auto object = MUST(MemoryObject::create_anonymous(m.cpu(), m.root(), 5000));
  for (u64 i = 0; i < 5000; ++i) MUST(object->page(m.cpu(), i, Access::write));
  object.reset();
  m.machine().orphans.adopt(m.cpu());
  u32 steps = 0;
  u64 free = m.frames().statistics().free;
  while (!m.cpu().work.run(m.cpu(), 1)) {
    ++steps;
    const u64 now = m.frames().statistics().free;
    EXPECT_LE(now - free, 64u + 4u);
    free = now;
  }
  EXPECT_GE(steps, 5000u / 64);
  EXPECT_EQ(m.baseline(), before);
}

TEST(MemoryObject, ContiguousPagesAreInARowAndZeroed) {
  TestMachine m;
  // Dirty memory first.
  {
    auto dirty = MUST(MemoryObject::create_anonymous(m.cpu(), m.root(), 3000));
    for (u64 i = 0; i < 3000; ++i) words(MUST(dirty->page(m.cpu(), i, Access::write)))[0] = ~u64{0};
  }
  const auto before = m.baseline();
  for (u64 pages : {u64{1}, u64{3}, u64{9}, u64{448}, u64{1024}}) {
    auto object = MUST(MemoryObject::create_contiguous(m.cpu(), m.root(), pages));
    const PhysAddr first = MUST(object->page(m.cpu(), 0, Access::read));
    for (u64 i = pages; i-- > 0;) {
      const PhysAddr page = MUST(object->page(m.cpu(), i, Access::write));
      ASSERT_EQ(page, first + i * kPageSize);
      if (i > 0) ASSERT_EQ(words(page)[0], 0u);
      words(page)[0] = 1;
    }
    object.reset();
    EXPECT_EQ(m.baseline(), before) << pages;
  }
}

TEST(MemoryObject, PinnedPagesAreCounted) {
  TestMachine m;
  const auto before = m.baseline();
  auto object = MUST(MemoryObject::create_anonymous(m.cpu(), m.root(), 40));
  u64 done = 0, at[500];
  while (done < 30) done += MUST(object->pin(m.cpu(), 5 + done, 30 - done, at + done));
  for (u64 i = 0; i < 30; ++i) EXPECT_EQ(at[i], MUST(object->existing_page(m.cpu(), 5 + i)).value);
  EXPECT_EQ(object->pinned_pages(), 30u);
  EXPECT_EQ(MUST(object->pin(m.cpu(), 5, 10, at)), 10u);  // present: one step; a page may be pinned twice
  Frame* frame = m.frames().frame(MUST(object->page(m.cpu(), 6, Access::read)));
  EXPECT_EQ(frame->pins, 2u);
  EXPECT_EQ(object->unpin(m.cpu(), 5, 10), 10u);
  EXPECT_EQ(object->unpin(m.cpu(), 5, 30), 30u);
  EXPECT_EQ(frame->pins, 0u);
  EXPECT_EQ(object->pin(m.cpu(), 39, 2, at).status(), Status::out_of_range);
  EXPECT_EQ(object->pin(m.cpu(), ~u64{0}, 2, at).status(), Status::out_of_range);
  object.reset();
  EXPECT_EQ(m.baseline(), before);
}

TEST(MemoryObject, PinCountsStartAtZeroWhateverAFrameWasBefore) {
  TestMachine m(8 * kMiB);
  std::vector<void*> objects;
  while (auto object = m.machine().heap.allocate(m.cpu(), m.root(), 500)) objects.push_back(*object);
  for (void* object : objects) m.machine().heap.free(m.cpu(), m.root(), object, 500);
  m.settle();
  auto object = MUST(MemoryObject::create_contiguous(m.cpu(), m.root(), 500));
  u64 at[500];
  for (u64 done = 0; done < 500;) done += MUST(object->pin(m.cpu(), done, 500 - done, at));
  for (u64 i = 0; i < 500; ++i) {
    ASSERT_EQ(m.frames().frame(MUST(object->page(m.cpu(), i, Access::read)))->pins, 1u);
  }
  for (u64 done = 0; done < 500;) done += object->unpin(m.cpu(), done, 500 - done);
}

TEST(MemoryObject, PhysicalRangesNeverShowRam) {
  TestMachine m;
  const PhysRange ram = m.range(0, 64 * kMiB);
  auto everything =
      MUST(MemoryObject::create_physical(m.cpu(), m.root(), PhysAddr(0), u64{1} << 36, CacheMode::uncached));
  EXPECT_EQ(MUST(everything->page(m.cpu(), 0xfee00, Access::read)), PhysAddr(0xfee00000));
  EXPECT_EQ(everything->page(m.cpu(), ram.base.value >> kPageShift, Access::read).status(), Status::bad_address);
  EXPECT_TRUE(everything->large_page(m.cpu(), 0xe0000).has_value());
  EXPECT_FALSE(everything->large_page(m.cpu(), 0xe0001).has_value());
  EXPECT_FALSE(everything->large_page(m.cpu(), align_up(ram.base.value >> kPageShift, 512)).has_value());
  auto module = MUST(MemoryObject::create_boot_module(m.cpu(), m.root(), ram.base, 16));
  EXPECT_EQ(MUST(module->page(m.cpu(), 3, Access::read)), ram.base + 3 * kPageSize);
}

TEST(MemoryObject, EveryAllocationMayFail) {
  TestMachine m;
  EXPECT_GE(sweep_allocation_failures(m,
                                      [&]() -> Status {
                                        auto object = MemoryObject::create_anonymous(m.cpu(), m.root(), 3'000'000);
                                        if (!object.has_value()) return object.error();
                                        for (u64 index : {0u, 1u, 2'999'999u}) {
                                          auto page = (*object)->page(m.cpu(), index, Access::write);
                                          if (!page.has_value()) return page.error();
                                        }
                                        return Status::ok;
                                      }),
            8u);
  EXPECT_GE(
      sweep_allocation_failures(m, [&] { return MemoryObject::create_contiguous(m.cpu(), m.root(), 100).status(); }),
      2u);
}

}  // namespace
}  // namespace keel::testing
