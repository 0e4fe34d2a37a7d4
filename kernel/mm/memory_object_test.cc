#include "kernel/mm/memory_object.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
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

// --- Copy on write

// page(), with the withdrawals that it asks for.
Result<PhysAddr> touch(Cpu& cpu, MemoryObject& object, u64 index, Access access) {
  for (;;) {
    auto page = object.page(cpu, index, access);
    if (page.status() != Status::restart) return page;
    const Status status = object.withdraw(cpu);
    if (status != Status::ok && status != Status::restart) return status;
  }
}
Status write(Cpu& cpu, MemoryObject& object, u64 index, u64 value) {
  auto page = touch(cpu, object, index, Access::write);
  if (page.has_value()) words(*page)[index % 512] = value;
  return page.status();
}
u64 read(Cpu& cpu, MemoryObject& object, u64 index) {
  return words(MUST(touch(cpu, object, index, Access::read)))[index % 512];
}
Result<RefPtr<MemoryObject>> clone_of(Cpu& cpu, ResourceGroup& group, MemoryObject& object) {
  auto clone = TRY(MemoryObject::create_clone(cpu, group, object));
  for (;;) {
    const Status status = object.clone_into(cpu, *clone).status();
    if (status == Status::ok) return clone;
    if (status != Status::restart) return status;
  }
}

TEST(CopyOnWrite, PagesAreSharedUntilOneSideWrites) {
  TestMachine m;
  const auto before = m.baseline();
  for (u64 pages : {u64{1}, u64{8}, u64{9}, u64{4097}, u64{3'000'000}}) {
    SCOPED_TRACE(pages);
    auto object = MUST(MemoryObject::create_anonymous(m.cpu(), m.root(), pages));
    EXPECT_EQ(write(m.cpu(), *object, 0, 1), Status::ok);
    EXPECT_EQ(write(m.cpu(), *object, pages - 1, 2), Status::ok);
    const u64 charged = m.root().usage(Resource::frames);
    const u64 frames = m.frames().statistics().user;
    auto clone = MUST(clone_of(m.cpu(), m.root(), *object));
    EXPECT_TRUE(clone->is_clone_of(*object));
    EXPECT_FALSE(object->is_clone());
    EXPECT_GE(m.root().usage(Resource::frames), charged + pages);  // in full
    EXPECT_EQ(m.frames().statistics().user, frames);               // nothing is copied yet
    EXPECT_EQ(clone->committed_pages(), object->committed_pages());
    EXPECT_EQ(MUST(touch(m.cpu(), *clone, pages - 1, Access::read)), MUST(object->existing_page(m.cpu(), pages - 1)));
    EXPECT_TRUE(MUST(clone->view(m.cpu(), pages - 1, Access::read)).shared());
    EXPECT_EQ(read(m.cpu(), *clone, pages - 1), 2u);
    EXPECT_EQ(write(m.cpu(), *object, pages - 1, 3), Status::ok);
    EXPECT_EQ(m.frames().statistics().user, frames + 1);
    EXPECT_EQ(read(m.cpu(), *clone, pages - 1), 2u);
    // Alone now, so written in place.
    EXPECT_EQ(write(m.cpu(), *clone, pages - 1, 4), Status::ok);
    EXPECT_EQ(m.frames().statistics().user, frames + 1);
    EXPECT_EQ(read(m.cpu(), *object, pages - 1), 3u);
    if (pages > 2) {  // never touched before: each has its own
      EXPECT_EQ(clone->existing_page(m.cpu(), 1).status(), Status::not_found);
      EXPECT_EQ(write(m.cpu(), *clone, 1, 5), Status::ok);
      EXPECT_EQ(object->existing_page(m.cpu(), 1).status(), Status::not_found);
      EXPECT_EQ(read(m.cpu(), *object, 1), 0u);
    }
    object.reset();
    m.settle();
    EXPECT_EQ(read(m.cpu(), *clone, pages - 1), 4u);
    clone.reset();
    EXPECT_EQ(m.baseline(), before);
  }
}

// Four generations, written to at random and compared with a model, then freed in every order.
TEST(CopyOnWrite, ClonesOfClonesAreIndependentAndGoInAnyOrder) {
  TestMachine m;
  Random random(test_seed());
  const auto before = m.baseline();
  std::array<u32, 4> order = {0, 1, 2, 3};
  do {
    std::vector<RefPtr<MemoryObject>> objects;
    std::vector<std::map<u64, u64>> model(4);
    const u64 pages = 1 + random.below(random.below(2) == 0 ? 12 : 9000);
    const auto scribble = [&] {
      for (u32 i = 0; i < 30; ++i) {
        const u64 which = random.below(objects.size());
        const u64 index = random.below(3) == 0 ? random.below(pages) : random.below(std::min<u64>(pages, 20));
        if (random.below(2) == 0) {
          ASSERT_EQ(write(m.cpu(), *objects[which], index, i + 1), Status::ok);
          model[which][index] = i + 1;
        } else {
          ASSERT_EQ(read(m.cpu(), *objects[which], index), model[which][index]);
        }
      }
    };
    objects.push_back(MUST(MemoryObject::create_anonymous(m.cpu(), m.root(), pages)));
    scribble();
    for (u32 i = 1; i < 4; ++i) {
      const u64 from = random.below(objects.size());
      objects.push_back(MUST(clone_of(m.cpu(), m.root(), *objects[from])));
      model[i] = model[from];
      scribble();
    }
    for (u32 gone = 0; gone < 4; ++gone) {
      objects[order[gone]].reset();
      m.settle();
      for (u32 left = gone + 1; left < 4; ++left) {
        for (auto [index, value] : model[order[left]]) {
          ASSERT_EQ(read(m.cpu(), *objects[order[left]], index), value);
          if (random.below(4) == 0) ASSERT_EQ(write(m.cpu(), *objects[order[left]], index, value), Status::ok);
        }
      }
    }
    ASSERT_EQ(m.baseline(), before);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(CopyOnWrite, OnlyAnonymousMemoryIsCloned) {
  TestMachine m;
  const auto refused = [&](MemoryObject& object) {
    return MemoryObject::create_clone(m.cpu(), m.root(), object).status();
  };
  EXPECT_EQ(refused(*MUST(MemoryObject::create_contiguous(m.cpu(), m.root(), 3))), Status::not_supported);
  EXPECT_EQ(refused(*MUST(MemoryObject::create_physical(m.cpu(), m.root(), PhysAddr(), 3, CacheMode::uncached))),
            Status::not_supported);
  EXPECT_EQ(refused(*MUST(MemoryObject::create_boot_module(m.cpu(), m.root(), m.range(0, 1).base, 3))),
            Status::not_supported);
  auto group = MUST(ResourceGroup::create(m.cpu(), m.root()));
  auto object = MUST(MemoryObject::create_anonymous(m.cpu(), m.root(), 99));
  group->set_limit(Resource::frames, 99);  // and a node
  EXPECT_EQ(MemoryObject::create_clone(m.cpu(), *group, *object).status(), Status::quota_exceeded);
  EXPECT_EQ(group->usage(Resource::frames), 0u);
  group->set_limit(Resource::frames, 100);
  EXPECT_EQ(clone_of(m.cpu(), *group, *object).status(), Status::ok);
}

TEST(CopyOnWrite, WhatIsPinnedIsTheObjectsOwn) {
  TestMachine m;
  const auto before = m.baseline();
  auto object = MUST(MemoryObject::create_anonymous(m.cpu(), m.root(), 1000));
  u64 at[64];
  EXPECT_EQ(MUST(object->pin(m.cpu(), 700, 1, at)), 1u);
  EXPECT_EQ(clone_of(m.cpu(), m.root(), *object).status(), Status::busy);
  EXPECT_EQ(object->unpin(m.cpu(), 700, 1), 1u);
  auto clone = MUST(clone_of(m.cpu(), m.root(), *object));
  words(PhysAddr(at[0]))[0] = 7;  // what a device might still do: the page is both's now
  u64 done = 0;
  while (done < 3) done += MUST(clone->pin(m.cpu(), 699 + done, 3 - done, at + done));
  EXPECT_NE(at[1], MUST(object->existing_page(m.cpu(), 700)).value);
  EXPECT_EQ(words(PhysAddr(at[1]))[0], 7u);
  EXPECT_EQ(clone_of(m.cpu(), m.root(), *clone).status(), Status::busy);
  auto another = MUST(clone_of(m.cpu(), m.root(), *object));
  EXPECT_EQ(MUST(clone->page(m.cpu(), 700, Access::write)).value, at[1]);
  EXPECT_EQ(clone->unpin(m.cpu(), 699, 3), 3u);
  object.reset();
  clone.reset();
  another.reset();
  EXPECT_EQ(m.baseline(), before);
}

// A page that is withdrawn, or all of them, cannot be had; whoever asks finishes it.
TEST(CopyOnWrite, WhoeverTouchesWhatIsWithdrawnFinishesIt) {
  TestMachine m;
  const auto before = m.baseline();
  auto object = MUST(MemoryObject::create_anonymous(m.cpu(), m.root(), 5000));
  for (u64 i = 0; i < 5000; i += 7) EXPECT_EQ(write(m.cpu(), *object, i, i), Status::ok);
  auto clone = MUST(clone_of(m.cpu(), m.root(), *object));
  EXPECT_EQ(object->withdraw(m.cpu()), Status::restart);  // nothing to do
  EXPECT_EQ(object->page(m.cpu(), 7, Access::write).status(), Status::restart);
  EXPECT_EQ(object->page(m.cpu(), 7, Access::read).status(), Status::restart);
  EXPECT_EQ(object->existing_page(m.cpu(), 7).status(), Status::restart);
  EXPECT_EQ(object->page(m.cpu(), 14, Access::read).status(), Status::ok);
  EXPECT_EQ(object->page(m.cpu(), 14, Access::write).status(), Status::restart);  // after the other one
  u64 at = 0;
  EXPECT_EQ(MUST(object->pin(m.cpu(), 7, 1, &at)), 0u);  // a node was copied: enough for one entry
  EXPECT_EQ(object->page(m.cpu(), 7, Access::read).status(), Status::restart);
  auto second = MUST(clone_of(m.cpu(), m.root(), *object));  // finishes that, too
  EXPECT_EQ(read(m.cpu(), *object, 7), 7u);
  // The thread that makes a clone dies: the object's last reference takes both away.
  auto abandoned = MUST(MemoryObject::create_clone(m.cpu(), m.root(), *object));
  EXPECT_EQ(object->page(m.cpu(), 21, Access::write).status(), Status::restart);
  EXPECT_EQ(object->clone_into(m.cpu(), *abandoned).status(), Status::restart);  // the page comes first
  abandoned.reset();
  object.reset();
  clone.reset();
  second.reset();
  EXPECT_EQ(m.baseline(), before);
}

TEST(CopyOnWrite, EveryAllocationMayFail) {
  TestMachine m;
  auto object = MUST(MemoryObject::create_anonymous(m.cpu(), m.root(), 3'000'000));
  for (u64 i : {0u, 1u, 600u, 2'999'999u}) EXPECT_EQ(write(m.cpu(), *object, i, i + 1), Status::ok);
  EXPECT_GE(sweep_allocation_failures(m,
                                      [&]() -> Status {
                                        auto clone = clone_of(m.cpu(), m.root(), *object);
                                        if (!clone.has_value()) return clone.error();
                                        Status status = Status::ok;
                                        for (u64 i : {2'999'999u, 0u, 1u, 2u}) {
                                          if (status == Status::ok) status = write(m.cpu(), **clone, i, 9);
                                        }
                                        for (u64 i : {0u, 1u, 600u, 2'999'999u}) {
                                          EXPECT_EQ(read(m.cpu(), *object, i), i + 1);
                                        }
                                        return status;
                                      }),
            9u);
}

}  // namespace
}  // namespace keel::testing
