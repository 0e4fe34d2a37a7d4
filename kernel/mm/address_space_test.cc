#include "kernel/mm/address_space.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "kernel/cap/tree.h"
#include "kernel/mm/machine_rig_test.h"

namespace keel::testing {
namespace {

constexpr VirtAddr kAt{0x4000'0000};

class AddressSpaceTest : public ::testing::Test {
 protected:
  RefPtr<MemoryObject> anonymous(u64 pages) { return MUST(MemoryObject::create_anonymous(cpu, m.root(), pages)); }
  RefPtr<AddressSpace> make_space(u64 seed = 1) { return MUST(AddressSpace::create(cpu, m.root(), seed)); }
  Result<VirtAddr> map_at(AddressSpace& s, MemoryObject& o, VirtAddr at, u64 pages,
                          Protection prot = Protection::read_write, Protection max = Protection::all, u64 first = 0,
                          CapNode* parent = nullptr) {
    return s.map(cpu, {.memory = o,
                       .parent = parent,
                       .first_page = first,
                       .pages = pages,
                       .prot = prot,
                       .max = max,
                       .at = at,
                       .fixed = true});
  }
  // Repeats a restartable call until it is finished.
  Status unmap(AddressSpace& s, VirtAddr at, u64 bytes) {
    for (;;) {
      auto p = s.unmap(cpu, at, bytes);
      if (!p.has_value()) return p.error();
      if (p->finished) return Status::ok;
      EXPECT_LT(p->bytes, bytes);
      at = at + p->bytes;
      bytes -= p->bytes;
    }
  }
  Status protect(AddressSpace& s, VirtAddr at, u64 bytes, Protection prot) {
    for (;;) {
      auto p = s.protect(cpu, at, bytes, prot);
      if (!p.has_value()) return p.error();
      if (p->finished) return Status::ok;
      at = at + p->bytes;
      bytes -= p->bytes;
    }
  }
  Status populate(AddressSpace& s, VirtAddr at, u64 bytes) {
    for (;;) {
      auto p = s.populate(cpu, at, bytes);
      if (!p.has_value()) return p.error();
      if (p->finished) return Status::ok;
      EXPECT_GT(p->bytes, 0u);
      at = at + p->bytes;
      bytes -= p->bytes;
    }
  }

  TestMachine m;
  Cpu& cpu = m.cpu();
};

TEST_F(AddressSpaceTest, FaultMapsAPageAndUnmapTakesItAway) {
  const auto before = m.baseline();
  {
    auto space = make_space();
    auto object = anonymous(10);
    MUST(map_at(*space, *object, kAt, 10));
    EXPECT_FALSE(space->lookup(cpu, kAt).has_value());
    MUST(space->handle_fault(cpu, kAt + 0x3123, Access::write));
    auto mapping = space->lookup(cpu, kAt + 0x3123);
    ASSERT_TRUE(mapping.has_value());
    EXPECT_EQ(mapping->address, MUST(object->page(cpu, 3, Access::read)) + 0x123);
    EXPECT_EQ(mapping->flags.protection, Protection::read_write);
    EXPECT_TRUE(mapping->flags.user);
    MUST(space->handle_fault(cpu, kAt + 0x3123, Access::write));  // another thread was faster
    EXPECT_EQ(space->handle_fault(cpu, kAt + 10 * kPageSize, Access::read).status(), Status::bad_address);
    EXPECT_EQ(space->handle_fault(cpu, kAt, Access::execute).status(), Status::missing_right);
    EXPECT_EQ(unmap(*space, kAt, 10 * kPageSize), Status::ok);
    EXPECT_FALSE(space->lookup(cpu, kAt + 0x3123).has_value());
    EXPECT_EQ(space->region_count(), 0u);
    EXPECT_EQ(space->mapped_pages(), 0u);
    EXPECT_EQ(m.frames().statistics().page_table, 1u);  // empty tables went at once
  }
  EXPECT_EQ(m.baseline(), before);
}

TEST_F(AddressSpaceTest, WriteAndExecuteExcludeEachOther) {
  auto space = make_space();
  auto object = anonymous(1);
  EXPECT_EQ(map_at(*space, *object, kAt, 1, Protection::all).status(), Status::invalid_argument);
  EXPECT_EQ(map_at(*space, *object, kAt, 1, Protection(u8(Access::write) | u8(Access::execute))).status(),
            Status::invalid_argument);
  MUST(map_at(*space, *object, kAt, 1, Protection::read_write));
  MUST(space->handle_fault(cpu, kAt, Access::write));
  EXPECT_EQ(protect(*space, kAt, kPageSize, Protection::all), Status::invalid_argument);
  EXPECT_EQ(protect(*space, kAt, kPageSize, Protection::read_execute), Status::ok);
  EXPECT_EQ(space->lookup(cpu, kAt)->flags.protection, Protection::read_execute);
  EXPECT_EQ(space->handle_fault(cpu, kAt, Access::write).status(), Status::missing_right);
}

TEST_F(AddressSpaceTest, RequestsAreChecked) {
  auto space = make_space();
  auto object = anonymous(4);
  const auto status = [&](VirtAddr at, u64 first, u64 pages) {
    return map_at(*space, *object, at, pages, Protection::read, Protection::all, first).status();
  };
  EXPECT_EQ(status(kAt, 0, 0), Status::invalid_argument);
  EXPECT_EQ(status(kAt, 0, 5), Status::out_of_range);
  EXPECT_EQ(status(kAt, 4, 1), Status::out_of_range);
  EXPECT_EQ(status(kAt, ~u64{0}, 2), Status::out_of_range);
  EXPECT_EQ(status(kAt, 2, ~u64{0}), Status::out_of_range);
  EXPECT_EQ(status(kAt + 1, 0, 1), Status::misaligned);
  EXPECT_EQ(status(VirtAddr(0), 0, 1), Status::bad_address);
  EXPECT_EQ(status(VirtAddr(0xf000), 0, 2), Status::bad_address);
  EXPECT_EQ(status(VirtAddr(0x0000'7fff'ffff'f000), 0, 1), Status::bad_address);  // the last page: SYSRET
  EXPECT_EQ(status(VirtAddr(0x0000'7fff'ffff'e000), 0, 2), Status::bad_address);
  EXPECT_EQ(status(VirtAddr(0xffff'8000'0000'0000), 0, 1), Status::bad_address);
  EXPECT_EQ(status(VirtAddr(~u64{0xfff}), 0, 2), Status::bad_address);
  EXPECT_EQ(status(VirtAddr(0x0000'7fff'ffff'e000), 0, 1), Status::ok);
  EXPECT_EQ(status(kUserBase, 0, 1), Status::ok);
  EXPECT_EQ(status(kAt, 0, 4), Status::ok);
  EXPECT_EQ(status(kAt + 3 * kPageSize, 0, 1), Status::bad_address);
  EXPECT_EQ(status(VirtAddr(kAt.value - kPageSize), 0, 2), Status::bad_address);
  EXPECT_EQ(status(VirtAddr(kAt.value - kPageSize), 0, 1), Status::ok);
  EXPECT_EQ(space->unmap(cpu, kAt + 1, kPageSize).status(), Status::misaligned);
  EXPECT_EQ(space->unmap(cpu, kAt, ~u64{0xfff}).status(), Status::bad_address);
  EXPECT_EQ(space->protect(cpu, kAt, 5 * kPageSize, Protection::read).status(), Status::bad_address);
  EXPECT_EQ(space->map(cpu, {.memory = *object, .pages = 1, .prot = Protection::read_write, .max = Protection::read})
                .status(),
            Status::invalid_argument);
  auto huge = MUST(MemoryObject::create_physical(cpu, m.root(), PhysAddr(0), u64{1} << 39, CacheMode::uncached));
  EXPECT_EQ(space->map(cpu, {.memory = *huge, .pages = u64{1} << 39}).status(), Status::bad_address);
  EXPECT_EQ(space->map(cpu, {.memory = *object, .pages = 1, .guard_pages = ~u64{0}}).status(), Status::bad_address);
  EXPECT_TRUE(space->check(cpu));
}

TEST_F(AddressSpaceTest, ChosenPlacesKeepGuardGapsAndFollowTheSeed) {
  auto object = anonymous(3);
  std::vector<std::vector<VirtAddr>> layouts;
  for (u64 seed : {7u, 7u, 8u}) {
    auto space = make_space(seed);
    auto& layout = layouts.emplace_back();
    for (int i = 0; i < 200; ++i) {
      layout.push_back(MUST(space->map(cpu, {.memory = *object, .pages = 3, .guard_pages = 2})));
    }
    ASSERT_TRUE(space->check(cpu));
    std::vector<RegionInfo> info(300);
    const u32 count = space->regions(cpu, kUserBase, info);
    ASSERT_EQ(count, 200u);
    for (u32 i = 1; i < count; ++i) {
      EXPECT_GE(info[i].start - info[i - 1].start, (3 + 2) * kPageSize);
    }
    // In chunks: the same.
    std::vector<RegionInfo> chunk(7);
    u32 seen = 0;
    for (VirtAddr from = kUserBase;;) {
      const u32 n = space->regions(cpu, from, chunk);
      if (n == 0) break;
      seen += n;
      from = chunk[n - 1].start + chunk[n - 1].pages * kPageSize;
    }
    EXPECT_EQ(seen, 200u);
  }
  EXPECT_EQ(layouts[0], layouts[1]);
  EXPECT_NE(layouts[0], layouts[2]);
  auto space = make_space();
  EXPECT_EQ(MUST(space->map(cpu, {.memory = *object, .pages = 3, .at = kAt})), kAt);  // a hint that can be followed
  EXPECT_NE(MUST(space->map(cpu, {.memory = *object, .pages = 3, .at = kAt})), kAt);
}

TEST_F(AddressSpaceTest, UnmapInTheMiddleSplits) {
  const auto before = m.baseline();
  {
    auto space = make_space();
    auto object = anonymous(300);
    MUST(map_at(*space, *object, kAt, 300));
    EXPECT_EQ(populate(*space, kAt, 300 * kPageSize), Status::ok);
    EXPECT_EQ(unmap(*space, kAt + 10 * kPageSize, 250 * kPageSize), Status::ok);
    EXPECT_EQ(space->region_count(), 2u);
    EXPECT_EQ(space->mapped_pages(), 50u);
    for (u64 i = 0; i < 300; ++i) {
      auto mapping = space->lookup(cpu, kAt + i * kPageSize);
      ASSERT_EQ(mapping.has_value(), i < 10 || i >= 260) << i;
      if (mapping) EXPECT_EQ(mapping->address, MUST(object->existing_page(cpu, i)));
    }
    MUST(map_at(*space, *object, kAt + 10 * kPageSize, 250, Protection::read));
    EXPECT_TRUE(space->check(cpu));
  }
  EXPECT_EQ(m.baseline(), before);
}

TEST_F(AddressSpaceTest, LongOperationsComeInBoundedSteps) {
  auto space = make_space();
  auto object = anonymous(2000);
  MUST(map_at(*space, *object, kAt, 2000));
  auto p = MUST(space->populate(cpu, kAt, 2000 * kPageSize));
  EXPECT_LE(p.bytes, 16 * kPageSize);
  EXPECT_FALSE(p.finished);
  EXPECT_EQ(populate(*space, kAt, 2000 * kPageSize), Status::ok);
  p = MUST(space->protect(cpu, kAt, 2000 * kPageSize, Protection::read));
  EXPECT_LE(p.bytes, 128 * kPageSize);
  EXPECT_FALSE(p.finished);
  // Up to the end of a table page by page, then table by table.
  p = MUST(space->unmap(cpu, kAt + 300 * kPageSize, 1700 * kPageSize));
  EXPECT_LE(p.bytes, 128 * kPageSize);
  EXPECT_FALSE(p.finished);
  EXPECT_EQ(unmap(*space, kAt, 2000 * kPageSize), Status::ok);
  EXPECT_EQ(m.frames().statistics().page_table, 1u);
  auto large = anonymous(200 * 512);
  MUST(map_at(*space, *large, kAt, 200 * 512));
  for (u64 i = 0; i < 200; ++i) MUST(space->handle_fault(cpu, kAt + i * kLargePageSize, Access::read));
  p = MUST(space->unmap(cpu, kAt, 200 * kLargePageSize));
  EXPECT_GE(p.bytes, 16 * kLargePageSize);
  EXPECT_LE(p.bytes, 64 * kLargePageSize);
  EXPECT_EQ(unmap(*space, kAt, 200 * kLargePageSize), Status::ok);
  EXPECT_EQ(m.frames().statistics().page_table, 1u);
  EXPECT_TRUE(space->check(cpu));
}

TEST_F(AddressSpaceTest, ProtectIsLimitedByWhatTheCapabilityAllowed) {
  auto space = make_space();
  auto object = anonymous(8);
  MUST(map_at(*space, *object, kAt, 4, Protection::read, Protection::read));
  MUST(map_at(*space, *object, kAt + 4 * kPageSize, 4, Protection::read, Protection::read_write, 4));
  EXPECT_EQ(protect(*space, kAt + 2 * kPageSize, 4 * kPageSize, Protection::read_write), Status::missing_right);
  EXPECT_EQ(space->region_count(), 2u);
  EXPECT_EQ(protect(*space, kAt + 5 * kPageSize, 2 * kPageSize, Protection::read_write), Status::ok);
  EXPECT_EQ(space->region_count(), 4u);
  MUST(space->handle_fault(cpu, kAt + 6 * kPageSize, Access::write));
  EXPECT_EQ(space->handle_fault(cpu, kAt + 7 * kPageSize, Access::write).status(), Status::missing_right);
  EXPECT_EQ(protect(*space, kAt, 8 * kPageSize, Protection::none), Status::ok);
  EXPECT_FALSE(space->lookup(cpu, kAt + 6 * kPageSize).has_value());
  EXPECT_EQ(space->handle_fault(cpu, kAt, Access::read).status(), Status::missing_right);
  EXPECT_EQ(space->populate(cpu, kAt, kPageSize).status(), Status::missing_right);
  EXPECT_TRUE(space->check(cpu));
}

TEST_F(AddressSpaceTest, DeviceMemoryUsesLargePagesAndIsCutWhenNeeded) {
  const auto before = m.baseline();
  {
    auto space = make_space();
    auto bar =
        MUST(MemoryObject::create_physical(cpu, m.root(), PhysAddr(0xe000'0000), 2048, CacheMode::write_combining));
    const VirtAddr at = MUST(space->map(
        cpu, {.memory = *bar, .pages = 2048, .prot = Protection::read_write, .max = Protection::read_write}));
    EXPECT_TRUE(is_aligned(at.value, kLargePageSize));
    MUST(space->handle_fault(cpu, at + 5 * kMiB + 17, Access::write));
    auto mapping = space->lookup(cpu, at + 5 * kMiB);
    ASSERT_TRUE(mapping.has_value());
    EXPECT_TRUE(mapping->large);
    EXPECT_EQ(mapping->address, PhysAddr(0xe000'0000 + 5 * kMiB));
    EXPECT_EQ(mapping->flags.cache, CacheMode::write_combining);
    EXPECT_EQ(populate(*space, at, 8 * kMiB), Status::ok);
    EXPECT_EQ(protect(*space, at + 5 * kMiB, kPageSize, Protection::read), Status::ok);
    EXPECT_FALSE(space->lookup(cpu, at + 5 * kMiB).has_value());  // comes back by faults
    MUST(space->handle_fault(cpu, at + 5 * kMiB, Access::read));
    MUST(space->handle_fault(cpu, at + 5 * kMiB + kPageSize, Access::write));
    EXPECT_FALSE(space->lookup(cpu, at + 5 * kMiB + kPageSize)->large);
    EXPECT_EQ(space->lookup(cpu, at + 5 * kMiB)->flags.protection, Protection::read);
    EXPECT_EQ(unmap(*space, at + kPageSize, 6 * kMiB), Status::ok);
    EXPECT_FALSE(space->lookup(cpu, at + kPageSize).has_value());
    EXPECT_FALSE(space->lookup(cpu, at + (6 * kMiB - kPageSize)).has_value());
    EXPECT_TRUE(space->lookup(cpu, at + 7 * kMiB).has_value() || space->handle_fault(cpu, at + 7 * kMiB, Access::read));
  }
  EXPECT_EQ(m.baseline(), before);
}

TEST_F(AddressSpaceTest, LocateNamesTheSameWordWhereverItIsMapped) {
  auto a = make_space();
  auto b = make_space(2);
  auto object = anonymous(4);
  MUST(map_at(*a, *object, kAt, 4));
  MUST(map_at(*b, *object, kAt + kMiB, 2, Protection::read, Protection::all, 2));
  EXPECT_EQ(a->locate(cpu, kAt + 0x2010).status(), Status::touch_first);
  EXPECT_EQ(a->locate(cpu, kAt + 0x2011).status(), Status::misaligned);
  EXPECT_EQ(a->locate(cpu, kAt + 0x4000).status(), Status::bad_address);
  MUST(a->handle_fault(cpu, kAt + 0x2010, Access::write));
  auto here = MUST(a->locate(cpu, kAt + 0x2010));
  auto there = MUST(b->locate(cpu, kAt + kMiB + 0x10));
  EXPECT_EQ(here.memory.get(), there.memory.get());
  EXPECT_EQ(here.offset, there.offset);
  EXPECT_EQ(here.address, there.address);
  EXPECT_EQ(protect(*b, kAt + kMiB, kPageSize, Protection::none), Status::ok);
  EXPECT_EQ(b->locate(cpu, kAt + kMiB + 0x10).status(), Status::missing_right);
}

TEST_F(AddressSpaceTest, TeardownIsBoundedAndFinal) {
  const auto before = m.baseline();
  {
    auto space = make_space();
    auto object = anonymous(3000);
    for (u64 i = 0; i < 30; ++i)
      MUST(map_at(*space, *object, kAt + i * 7 * kMiB, 100, Protection::read, Protection::read, i * 100));
    for (u64 i = 0; i < 30; ++i) EXPECT_EQ(populate(*space, kAt + i * 7 * kMiB, 100 * kPageSize), Status::ok);
    u32 steps = 1;
    while (!space->teardown_step(cpu)) ++steps;
    EXPECT_GT(steps, 20u);
    EXPECT_EQ(map_at(*space, *object, kAt, 1).status(), Status::bad_state);
    EXPECT_EQ(m.frames().statistics().page_table, 1u);
  }
  EXPECT_EQ(m.baseline(), before);
}

TEST_F(AddressSpaceTest, EveryAllocationMayFail) {
  auto object = anonymous(600);
  for (u64 i = 0; i < 600; ++i) MUST(object->page(cpu, i, Access::write));
  const u64 failures = sweep_allocation_failures(m, [&]() -> Status {
    auto made = AddressSpace::create(cpu, m.root(), 1);
    if (!made.has_value()) return made.error();
    AddressSpace& space = **made;
    if (auto r = map_at(space, *object, kAt, 600); !r.has_value()) return r.error();
    if (auto s = populate(space, kAt, 600 * kPageSize); s != Status::ok) return s;
    if (auto r = space.handle_fault(cpu, kAt + 599 * kPageSize, Access::read); !r.has_value()) return r.error();
    // A cut that fails changes nothing.
    const auto unchanged = [&] { return space.region_count() == 1 && space.mapped_pages() == 600; };
    if (auto s = protect(space, kAt + kPageSize, kPageSize, Protection::read); s != Status::ok) {
      EXPECT_TRUE(unchanged());
      EXPECT_EQ(space.lookup(cpu, kAt + kPageSize)->flags.protection, Protection::read_write);
      return s;
    }
    EXPECT_EQ(space.region_count(), 3u);
    if (auto s = unmap(space, kAt + 10 * kPageSize, 10 * kPageSize); s != Status::ok) {
      EXPECT_EQ(space.region_count(), 3u);
      EXPECT_TRUE(space.lookup(cpu, kAt + 10 * kPageSize).has_value());
      return s;
    }
    EXPECT_TRUE(space.check(cpu));
    return Status::ok;
  });
  EXPECT_GE(failures, 8u);
}

TEST_F(AddressSpaceTest, QuotaOfPageTablesIsReported) {
  auto group = MUST(ResourceGroup::create(cpu, m.root()));
  auto space = MUST(AddressSpace::create(cpu, *group, 1));
  auto object = anonymous(1);
  MUST(map_at(*space, *object, kAt, 1));
  group->set_limit(Resource::frames, 2);
  EXPECT_EQ(space->handle_fault(cpu, kAt, Access::read).status(), Status::quota_exceeded);
  EXPECT_EQ(group->usage(Resource::frames), 1u);
  group->set_limit(Resource::frames, 4);
  MUST(space->handle_fault(cpu, kAt, Access::read));
  EXPECT_EQ(group->usage(Resource::frames), 4u);
}

// Revocation against the owner: `owner` runs after each step of the revoker.
TEST_F(AddressSpaceTest, RevocationUnmapsWhateverTheOwnerDoesMeanwhile) {
  const auto before = m.baseline();
  for (int script = 0; script < 6; ++script) {
    SCOPED_TRACE(script);
    auto space = make_space();
    auto object = anonymous(1000);
    CapNode parent;
    MUST(link_child(cpu, *object, nullptr, parent, NodeKind::slot));
    MUST(map_at(*space, *object, kAt, 1000, Protection::read_write, Protection::all, 0, &parent));
    EXPECT_EQ(populate(*space, kAt, 1000 * kPageSize), Status::ok);
    EXPECT_EQ(unmap(*space, kAt + 300 * kPageSize, 10 * kPageSize), Status::ok);  // two nodes
    MUST(begin_revoke(cpu, parent));
    EXPECT_EQ(map_at(*space, *object, kAt + 100 * kMiB, 1, Protection::read, Protection::all, 0, &parent).status(),
              Status::revoked);
    for (u32 step = 0; !revoke_step(cpu, parent, 1); ++step) {
      ASSERT_LT(step, 100u);
      ASSERT_TRUE(space->check(cpu));
      switch (script) {
        case 0:
          break;
        case 1:  // unmaps everything
          EXPECT_EQ(unmap(*space, kAt, 1000 * kPageSize), Status::ok);
          break;
        case 2:  // cuts what is being taken away
          EXPECT_EQ(unmap(*space, kAt + (step * 40 + 5) * kPageSize, kPageSize), Status::ok);
          break;
        case 3:
          std::ignore = space->unmap(cpu, kAt + 500 * kPageSize, 200 * kPageSize);
          break;
        case 4:  // tries to get pages back
          for (u64 page = 0; page < 1000; page += 50) {
            std::ignore = space->handle_fault(cpu, kAt + page * kPageSize, Access::read);
          }
          std::ignore = space->protect(cpu, kAt + 400 * kPageSize, kPageSize, Protection::read);
          break;
        case 5:  // dies
          if (space) space->teardown_step(cpu);
          break;
      }
    }
    end_revoke(cpu, parent);
    for (u64 page = 0; page < 1000; ++page) ASSERT_FALSE(space->lookup(cpu, kAt + page * kPageSize).has_value());
    EXPECT_EQ(space->region_count(), 0u);
    EXPECT_TRUE(unlink(cpu, parent));
    space.reset();
    object.reset();
    EXPECT_EQ(m.baseline(), before);
  }
}

TEST_F(AddressSpaceTest, SpaceThatEndsFinishesWhatARevokerHasBegun) {
  const auto before = m.baseline();
  auto space = make_space();
  auto object = anonymous(500);
  CapNode parent;
  MUST(link_child(cpu, *object, nullptr, parent, NodeKind::slot));
  MUST(map_at(*space, *object, kAt, 500, Protection::read, Protection::all, 0, &parent));
  EXPECT_EQ(populate(*space, kAt, 500 * kPageSize), Status::ok);
  MUST(begin_revoke(cpu, parent));
  EXPECT_FALSE(revoke_step(cpu, parent, 1));
  space.reset();
  EXPECT_TRUE(cpu.work.run(cpu, 50));  // does not wait for a revoker that may never come back
  while (!revoke_step(cpu, parent, 4)) {
  }
  end_revoke(cpu, parent);
  EXPECT_TRUE(unlink(cpu, parent));
  object.reset();
  EXPECT_EQ(m.baseline(), before);
}

// A TLB as large as can be: it forgets only what it is told to.
class EndlessTlb final : public arch::TlbObserver {
 public:
  EndlessTlb() { arch::tlb_observer = this; }
  ~EndlessTlb() override { arch::tlb_observer = nullptr; }
  void invalidated(VirtAddr page) override { cached_.erase(page.value); }
  void invalidated_all() override { cached_.clear(); }
  // Whether everything cached is still allowed; then caches what is present now.
  bool check_and_fill(Cpu& cpu, AddressSpace& space, VirtAddr base, u64 pages) {
    for (u64 i = 0; i < pages; ++i) {
      const VirtAddr at = base + i * kPageSize;
      const auto now = space.lookup(cpu, at);
      if (auto it = cached_.find(at.value); it != cached_.end()) {
        if (!now || now->address != it->second.first || !within(it->second.second, now->flags.protection)) return false;
      }
      if (now) cached_[at.value] = {now->address, now->flags.protection};
    }
    return true;
  }

 private:
  std::map<u64, std::pair<PhysAddr, Protection>> cached_;
};

TEST_F(AddressSpaceTest, ScatteredPagesAllLeaveTheTlb) {
  auto space = make_space();
  auto object = anonymous(60);
  EndlessTlb tlb;
  cpu.space.store(space.get(), kRelaxed);
  MUST(map_at(*space, *object, kAt, 60));
  for (u64 i = 0; i < 60; i += 3) MUST(space->handle_fault(cpu, kAt + i * kPageSize, Access::write));
  ASSERT_TRUE(tlb.check_and_fill(cpu, *space, kAt, 60));
  EXPECT_EQ(protect(*space, kAt, 60 * kPageSize, Protection::read), Status::ok);
  ASSERT_TRUE(tlb.check_and_fill(cpu, *space, kAt, 60));
  EXPECT_EQ(unmap(*space, kAt, 60 * kPageSize), Status::ok);
  ASSERT_TRUE(tlb.check_and_fill(cpu, *space, kAt, 60));
  cpu.space.store(nullptr, kRelaxed);
}

// --- Copy on write

// A program's view: what it reads and writes goes through the endless TLB, or else faults.
class Program {
 public:
  Program(Cpu& cpu, AddressSpace& space) : cpu_(cpu), space_(space) { cpu.space.store(&space, kRelaxed); }
  ~Program() { cpu_.space.store(nullptr, kRelaxed); }
  u64* word(VirtAddr at, Access access) {
    for (u32 i = 0; i < 100; ++i) {
      if (u64* here = tlb_.find(at, access)) return here;
      MUST(space_.handle_fault(cpu_, at, access));
      tlb_.fill(cpu_, space_, at);
    }
    __builtin_trap();
  }
  u64 read(VirtAddr at) { return *word(at, Access::read); }
  void write(VirtAddr at, u64 value) { *word(at, Access::write) = value; }

 private:
  class Tlb final : public arch::TlbObserver {
   public:
    Tlb() { arch::tlb_observer = this; }
    ~Tlb() override { arch::tlb_observer = nullptr; }
    void invalidated(VirtAddr page) override { cached_.erase(page.value); }
    void invalidated_all() override { cached_.clear(); }
    u64* find(VirtAddr at, Access access) {
      auto it = cached_.find(align_down(at.value, kPageSize));
      if (it == cached_.end() || !allows(it->second.second, access)) return nullptr;
      return static_cast<u64*>(phys_to_virt(it->second.first + at.value % kPageSize));
    }
    void fill(Cpu& cpu, AddressSpace& space, VirtAddr at) {
      const VirtAddr page(align_down(at.value, kPageSize));
      if (const auto now = space.lookup(cpu, page)) cached_[page.value] = {now->address, now->flags.protection};
    }

   private:
    std::map<u64, std::pair<PhysAddr, Protection>> cached_;
  };
  Cpu& cpu_;
  AddressSpace& space_;
  Tlb tlb_;
};

class MappedCloneTest : public AddressSpaceTest {
 protected:
  // `meanwhile` runs before every step.
  template <class F>
  Result<RefPtr<MemoryObject>> clone(MemoryObject& object, F meanwhile) {
    auto made = TRY(MemoryObject::create_clone(cpu, m.root(), object));
    for (;;) {
      meanwhile(*made);
      const Status status = object.clone_into(cpu, *made).status();
      if (status == Status::ok) return made;
      if (status != Status::restart) return status;
    }
  }
};

TEST_F(MappedCloneTest, MappedPagesAreWriteProtectedAndComeBack) {
  const auto before = m.baseline();
  {
    auto space = make_space();
    auto object = anonymous(3);
    MUST(map_at(*space, *object, kAt, 3));
    Program program(cpu, *space);
    program.write(kAt, 1);
    program.write(kAt + kPageSize, 2);
    auto copy = MUST(clone(*object, [](MemoryObject&) {}));
    EXPECT_FALSE(space->lookup(cpu, kAt).has_value());
    EXPECT_EQ(program.read(kAt), 1u);
    EXPECT_EQ(space->lookup(cpu, kAt)->flags.protection, Protection::read);
    // Raising the protection does not give what is shared for writing.
    EXPECT_EQ(protect(*space, kAt, kPageSize, Protection::read), Status::ok);
    EXPECT_EQ(protect(*space, kAt, kPageSize, Protection::read_write), Status::ok);
    EXPECT_EQ(program.read(kAt), 1u);
    EXPECT_EQ(space->lookup(cpu, kAt)->flags.protection, Protection::read);
    program.write(kAt, 3);
    EXPECT_EQ(space->lookup(cpu, kAt)->flags.protection, Protection::read_write);
    MUST(map_at(*space, *copy, kAt + kMiB, 3, Protection::read_write));
    EXPECT_EQ(program.read(kAt + kMiB), 1u);
    // The only one that is left of the two may write, without a copy.
    const PhysAddr second = MUST(object->existing_page(cpu, 1));
    EXPECT_EQ(program.read(kAt + kPageSize), 2u);
    EXPECT_EQ(unmap(*space, kAt + kMiB, 3 * kPageSize), Status::ok);
    copy.reset();
    m.settle();
    program.write(kAt + kPageSize, 4);
    EXPECT_EQ(MUST(object->existing_page(cpu, 1)), second);
  }
  EXPECT_EQ(m.baseline(), before);
}

TEST_F(MappedCloneTest, AWordOfASharedPageIsTheSameInAllMappings) {
  auto a = make_space();
  auto b = make_space(2);
  auto object = anonymous(4);
  MUST(map_at(*a, *object, kAt, 4));
  MUST(map_at(*b, *object, kAt + kMiB, 2, Protection::read, Protection::all, 2));
  MUST(a->handle_fault(cpu, kAt + 0x3010, Access::write));
  auto copy = MUST(clone(*object, [](MemoryObject&) {}));
  MUST(b->handle_fault(cpu, kAt + kMiB + 0x1010, Access::read));
  const PhysAddr shared = MUST(b->locate(cpu, kAt + kMiB + 0x1010)).address;
  EXPECT_EQ(MUST(a->locate(cpu, kAt + 0x3010)).address, shared);
  while (!a->lookup(cpu, kAt + 0x3010)) MUST(a->handle_fault(cpu, kAt + 0x3010, Access::write));
  EXPECT_FALSE(b->lookup(cpu, kAt + kMiB + 0x1010).has_value());  // it would show the clone's
  const PhysAddr own = MUST(b->locate(cpu, kAt + kMiB + 0x1010)).address;
  EXPECT_NE(own, shared);
  EXPECT_EQ(MUST(a->locate(cpu, kAt + 0x3010)).address, own);
  // Asked for in the middle of a withdrawal: it is finished first.
  auto third = MUST(clone(*object, [](MemoryObject&) {}));
  EXPECT_EQ(object->page(cpu, 3, Access::write).status(), Status::restart);
  Status status = Status::restart;
  for (u32 i = 0; i < 10 && status == Status::restart; ++i) status = a->locate(cpu, kAt + 0x3010).status();
  EXPECT_EQ(status, Status::ok);
}

TEST_F(MappedCloneTest, AnAbandonedCloneIsFinishedByWhoeverTouchesTheOriginal) {
  const auto before = m.baseline();
  for (const bool touched : {true, false}) {
    auto space = make_space();
    auto object = anonymous(200 * 512);
    const VirtAddr at = MUST(space->map(
        cpu, {.memory = *object, .pages = 200 * 512, .prot = Protection::read_write, .max = Protection::read_write}));
    EXPECT_TRUE(is_aligned(at.value, kLargePageSize));
    for (u64 i = 0; i < 200; ++i) MUST(space->handle_fault(cpu, at + i * kLargePageSize, Access::write));
    auto copy = MUST(MemoryObject::create_clone(cpu, m.root(), *object));
    EXPECT_EQ(object->clone_into(cpu, *copy).status(), Status::restart);
    copy.reset();
    const u64 charged = m.root().usage(Resource::frames);
    EXPECT_EQ(space->map(cpu, {.memory = *object, .pages = 1}).status(), Status::ok);  // not in the way
    for (u32 i = 0; touched && !space->lookup(cpu, at).has_value(); ++i) {
      ASSERT_LT(i, 20u);
      MUST(space->handle_fault(cpu, at, Access::write));
    }
    m.settle();
    EXPECT_EQ(m.root().usage(Resource::frames) < charged, touched);
    space.reset();
    object.reset();
    EXPECT_EQ(m.baseline(), before);
  }
}

// Objects, clones of them, mapped here and there, written to while clones are made: each sees its own.
TEST_F(MappedCloneTest, BehaveLikeAModel) {
  const u64 seed = test_seed();
  std::printf("KEEL_SEED=%llu\n", static_cast<unsigned long long>(seed));
  Random random(seed);
  const auto before = m.baseline();
  struct Copy {
    RefPtr<MemoryObject> object;
    std::map<u64, u64> words;  // by page
  };
  struct Window {
    VirtAddr at;
    u64 copy, first, pages;
  };
  {
    auto space = make_space();
    Program program(cpu, *space);
    std::map<u64, Copy> copies;
    std::vector<Window> windows;
    u64 next = 0;
    const auto use = [&] {
      if (windows.empty()) return;
      const Window& w = windows[random.below(windows.size())];
      const u64 page = random.below(random.below(3) == 0 ? w.pages : std::min<u64>(w.pages, 6));
      u64& expected = copies[w.copy].words[w.first + page];
      if (random.below(2) == 0) {
        program.write(w.at + page * kPageSize, expected = random.next());
      } else {
        ASSERT_EQ(program.read(w.at + page * kPageSize), expected);
      }
    };
    for (u32 step = 0; step < 6000 && !HasFatalFailure(); ++step) {
      const u64 what = random.below(64);
      if (what == 0 && copies.size() < 6) {
        copies[next++].object = anonymous(1 + random.below(random.below(3) == 0 ? 3000 : 20));
      } else if (what < 5 && !copies.empty() && copies.size() < 8) {
        auto from = std::next(copies.begin(), i64(random.below(copies.size())));
        // Whoever touches it may do the last step: that is the instant.
        std::map<u64, u64> words = from->second.words;
        auto made = MUST(clone(*from->second.object, [&](MemoryObject& made) {
          for (u64 i = random.below(8); i > 0; --i) {
            use();
            if (!made.may_share()) words = from->second.words;
          }
        }));
        copies[next++] = {made, words};
      } else if (what < 9 && !copies.empty() && windows.size() < 12) {
        auto of = std::next(copies.begin(), i64(random.below(copies.size())));
        const u64 pages = of->second.object->pages();
        const u64 first = random.below(3) == 0 ? random.below(pages) : 0;
        const u64 count = 1 + random.below(pages - first);
        const VirtAddr at = MUST(space->map(cpu, {.memory = *of->second.object,
                                                  .first_page = first,
                                                  .pages = count,
                                                  .prot = Protection::read_write,
                                                  .max = Protection::read_write}));
        windows.push_back({at, of->first, first, count});
      } else if (what < 11 && !windows.empty()) {
        // All of it, or a part at the front, in the middle, at the end.
        const u64 which = random.below(windows.size());
        const Window w = windows[which];
        const u64 first = random.below(w.pages), count = 1 + random.below(w.pages - first);
        windows.erase(windows.begin() + i64(which));
        ASSERT_EQ(unmap(*space, w.at + first * kPageSize, count * kPageSize), Status::ok);
        if (first > 0) windows.push_back({w.at, w.copy, w.first, first});
        const u64 rest = first + count;
        if (rest < w.pages) windows.push_back({w.at + rest * kPageSize, w.copy, w.first + rest, w.pages - rest});
      } else if (what < 13 && !windows.empty()) {
        const Window& w = windows[random.below(windows.size())];
        const u64 first = random.below(w.pages), count = 1 + random.below(std::min<u64>(w.pages - first, 10));
        for (Protection prot : {Protection::read, Protection::read_write}) {
          ASSERT_EQ(protect(*space, w.at + first * kPageSize, count * kPageSize, prot), Status::ok);
        }
      } else if (what == 13 && !copies.empty()) {
        auto gone = std::next(copies.begin(), i64(random.below(copies.size())));
        for (u64 i = 0; i < windows.size();) {
          if (windows[i].copy != gone->first) {
            ++i;
            continue;
          }
          ASSERT_EQ(unmap(*space, windows[i].at, windows[i].pages * kPageSize), Status::ok);
          windows.erase(windows.begin() + i64(i));
        }
        copies.erase(gone);
        if (random.below(2) == 0) m.settle();
      } else {
        use();
      }
    }
    ASSERT_TRUE(space->check(cpu));
  }
  EXPECT_EQ(m.baseline(), before);
}

// Random operations against a model of pages.
TEST_F(AddressSpaceTest, BehavesLikeAModel) {
  const u64 seed = test_seed();
  std::printf("KEEL_SEED=%llu\n", static_cast<unsigned long long>(seed));
  Random random(seed);
  const auto before = m.baseline();
  constexpr u64 kPages = 1500;  // crosses table borders
  const VirtAddr base{u64{0x8000'0000} - 700 * kPageSize};
  struct Page {
    u32 object;
    u64 index;
    Protection prot;
    Protection max;
  };
  {
    auto space = make_space();
    std::vector<RefPtr<MemoryObject>> objects;
    for (u64 pages : {u64{5}, u64{64}, u64{600}, u64{1500}}) objects.push_back(anonymous(pages));
    objects.push_back(MUST(MemoryObject::create_physical(cpu, m.root(), PhysAddr(0x1'0000'0000 - 700 * kPageSize), 1500,
                                                         CacheMode::uncached)));
    std::map<u64, Page> model;
    EndlessTlb tlb;
    cpu.space.store(space.get(), kRelaxed);
    const Protection prots[] = {Protection::none, Protection::read, Protection::read_write, Protection::read_execute};
    const Protection maxes[] = {Protection::all, Protection::all, Protection::read, Protection::read_write};
    const Access accesses[] = {Access::read, Access::write, Access::execute};
    for (u32 step = 0; step < 6000; ++step) {
      const u64 first = random.below(kPages);
      const u64 count = 1 + random.below(random.below(4) == 0 ? kPages - first : std::min<u64>(20, kPages - first));
      const VirtAddr at = base + first * kPageSize;
      switch (random.below(6)) {
        case 0: {
          const u32 which = u32(random.below(objects.size()));
          const u64 pages = objects[which]->pages();
          const u64 from = which == 4 && random.below(2) == 0 ? first : random.below(pages);
          const Protection prot = prots[random.below(4)];
          const Protection max = maxes[random.below(4)];
          Status expected = Status::ok;
          for (u64 i = first; i < first + count; ++i) {
            if (model.contains(i)) expected = Status::bad_address;
          }
          if (from + count > pages) expected = Status::out_of_range;
          if (!within(prot, max)) expected = Status::invalid_argument;
          ASSERT_EQ(map_at(*space, *objects[which], at, count, prot, max, from).status(), expected);
          if (expected != Status::ok) break;
          for (u64 i = 0; i < count; ++i) model[first + i] = {which, from + i, prot, max};
          break;
        }
        case 1:
          ASSERT_EQ(unmap(*space, at, count * kPageSize), Status::ok);
          for (u64 i = first; i < first + count; ++i) model.erase(i);
          break;
        case 2: {
          const Protection prot = prots[random.below(4)];
          Status expected = Status::ok;
          for (u64 i = first; i < first + count && expected == Status::ok; ++i) {
            if (!model.contains(i)) {
              expected = Status::bad_address;
            } else if (!within(prot, model[i].max)) {
              expected = Status::missing_right;
            }
          }
          const Status status = protect(*space, at, count * kPageSize, prot);
          if (status == Status::invalid_argument) break;  // too many regions
          ASSERT_EQ(status, expected);
          if (expected != Status::ok) break;
          for (u64 i = first; i < first + count; ++i) model[i].prot = prot;
          break;
        }
        case 3:
          std::ignore = populate(*space, at, std::min<u64>(count, 40) * kPageSize);
          break;
        default: {
          const Access access = accesses[random.below(3)];
          const Status expected = !model.contains(first)               ? Status::bad_address
                                  : !allows(model[first].prot, access) ? Status::missing_right
                                                                       : Status::ok;
          ASSERT_EQ(space->handle_fault(cpu, at, access).status(), expected);
          if (expected != Status::ok) break;
          auto mapping = space->lookup(cpu, at);
          ASSERT_TRUE(mapping.has_value());
          ASSERT_TRUE(allows(mapping->flags.protection, access));
        }
      }
      ASSERT_TRUE(tlb.check_and_fill(cpu, *space, base, kPages));
      if (step % 16 != 0) continue;
      ASSERT_TRUE(space->check(cpu));
      ASSERT_EQ(space->mapped_pages(), model.size());
      for (u64 i = 0; i < kPages; ++i) {  // I3
        auto mapping = space->lookup(cpu, base + i * kPageSize);
        if (!mapping) continue;
        ASSERT_TRUE(model.contains(i));
        const Page& page = model[i];
        ASSERT_TRUE(within(mapping->flags.protection, page.prot));
        ASSERT_EQ(mapping->address, MUST(objects[page.object]->existing_page(cpu, page.index)));
        ASSERT_EQ(mapping->flags.cache, objects[page.object]->cache());
      }
    }
    cpu.space.store(nullptr, kRelaxed);
  }
  EXPECT_EQ(m.baseline(), before);
}

}  // namespace
}  // namespace keel::testing
