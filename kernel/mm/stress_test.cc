// Several CPUs at once, meant for ThreadSanitizer as much as for the assertions.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "kernel/cap/tree.h"
#include "kernel/mm/machine_rig_test.h"

namespace keel::testing {
namespace {

constexpr u32 kCpus = 4;

// Runs `body(cpu, random)` on kCpus threads, each with a Cpu of its own, and empties their magazines afterwards.
template <class Body>
void on_all_cpus(TestMachine& m, Body body) {
  std::vector<std::unique_ptr<Cpu>> cpus;
  for (u32 i = 0; i < kCpus; ++i) cpus.push_back(std::make_unique<Cpu>(m.machine(), i + 1));
  {
    std::vector<std::jthread> threads;
    for (u32 i = 0; i < kCpus; ++i) {
      threads.emplace_back([&, i] {
        Random random(test_seed() + i);
        body(*cpus[i], random);
      });
    }
  }
  for (auto& cpu : cpus) {
    m.machine().heap.drain(*cpu);
    m.frames().drain(*cpu);
  }
}

TEST(Stress, FramesHeapAndGroups) {
  TestMachine m;
  const auto before = m.baseline();
  {
    auto group = MUST(ResourceGroup::create(m.cpu(), m.root()));
    group->set_limit(Resource::frames, 3000);
    on_all_cpus(m, [&](Cpu& cpu, Random& random) {
      std::vector<Frame*> frames;
      std::vector<std::pair<void*, usize>> objects;
      for (u32 i = 0; i < 4000; ++i) {
        switch (random.below(4)) {
          case 0:
            if (auto frame = m.frames().allocate(cpu, *group, u32(random.below(5)))) {
              *static_cast<u64*>(phys_to_virt(m.frames().address(*frame))) = i;
              frames.push_back(*frame);
            }
            break;
          case 1:
            if (!frames.empty()) {
              m.frames().free(cpu, *group, frames.back());
              frames.pop_back();
            }
            break;
          case 2: {
            const usize bytes = 1 + random.below(2500);
            if (auto object = m.machine().heap.allocate(cpu, *group, bytes)) {
              std::memset(*object, 1, bytes);
              objects.push_back({*object, bytes});
            }
            break;
          }
          case 3:
            if (!objects.empty()) {
              m.machine().heap.free(cpu, *group, objects.back().first, objects.back().second);
              objects.pop_back();
            }
        }
        if (group->usage(Resource::frames) > 3000) __builtin_trap();
      }
      for (Frame* frame : frames) m.frames().free(cpu, *group, frame);
      for (auto [object, bytes] : objects) m.machine().heap.free(cpu, *group, object, bytes);
    });
    EXPECT_EQ(group->usage(Resource::frames), 0u);
    EXPECT_EQ(group->usage(Resource::kernel_bytes), 0u);
  }
  EXPECT_EQ(m.baseline(), before);
}

TEST(Stress, OneAddressSpace) {
  TestMachine m;
  const auto before = m.baseline();
  {
    auto space = MUST(AddressSpace::create(m.cpu(), m.root(), 1));
    auto object = MUST(MemoryObject::create_anonymous(m.cpu(), m.root(), 256));
    CapNode parent;
    MUST(link_child(m.cpu(), *object, nullptr, parent, NodeKind::slot));
    const VirtAddr base{0x4000'0000};
    std::atomic<u32> owners = kCpus - 1;
    on_all_cpus(m, [&](Cpu& cpu, Random& random) {
      if (cpu.index == 1) {  // revokes over and over
        while (owners.load() > 0) {
          MUST(begin_revoke(cpu, parent));
          while (!revoke_step(cpu, parent, 4)) {
          }
          end_revoke(cpu, parent);
          std::this_thread::yield();
        }
        return;
      }
      for (u32 i = 0; i < 3000; ++i) {
        const u64 page = random.below(200);
        const u64 count = 1 + random.below(50);
        const VirtAddr at = base + page * kPageSize;
        switch (random.below(5)) {
          case 0:
            std::ignore = space->map(cpu, {.memory = *object,
                                           .parent = &parent,
                                           .first_page = page,
                                           .pages = count,
                                           .prot = Protection::read_write,
                                           .max = Protection::all,
                                           .at = at,
                                           .fixed = true});
            break;
          case 1:
            std::ignore = space->unmap(cpu, at, count * kPageSize);
            break;
          case 2:
            std::ignore = space->protect(cpu, at, count * kPageSize, Protection::read);
            break;
          case 3:
            std::ignore = space->populate(cpu, at, count * kPageSize);
            break;
          case 4:
            std::ignore = space->handle_fault(cpu, at, Access::read);
        }
        if (i % 64 == 0 && !space->check(cpu)) __builtin_trap();
      }
      owners.fetch_sub(1);
    });
    MUST(begin_revoke(m.cpu(), parent));
    while (!revoke_step(m.cpu(), parent, 4)) {
    }
    end_revoke(m.cpu(), parent);
    EXPECT_EQ(space->region_count(), 0u);
    EXPECT_EQ(space->mapped_pages(), 0u);
    EXPECT_TRUE(unlink(m.cpu(), parent));
  }
  EXPECT_EQ(m.baseline(), before);
}

// Every CPU clones what it finds in a table, touches pages of it, through two spaces that all share and without, pins,
// and puts back what it made.
TEST(Stress, ClonesAndWhatTheyShare) {
  TestMachine m(128 * kMiB);
  const auto before = m.baseline();
  {
    constexpr u64 kPages = 1100;  // three nodes of pages
    std::vector<RefPtr<AddressSpace>> spaces;
    for (u64 seed : {1, 2}) spaces.push_back(MUST(AddressSpace::create(m.cpu(), m.root(), seed)));
    std::mutex mutex;
    std::vector<RefPtr<MemoryObject>> table(4);
    for (auto& entry : table) entry = MUST(MemoryObject::create_anonymous(m.cpu(), m.root(), kPages));
    std::atomic<u64> clones = 0;
    on_all_cpus(m, [&](Cpu& own, Random& random) {
      Cpu& cpu = own.index == 1 ? m.cpu() : own;  // which frees what the others gave up
      const auto pick = [&] {
        std::lock_guard guard(mutex);
        return table[random.below(table.size())];
      };
      for (u32 i = 0; i < 600; ++i) {
        const RefPtr<MemoryObject> object = pick();
        if (const u64 what = random.below(8); what == 0) {
          auto clone = MemoryObject::create_clone(cpu, m.root(), *object);
          if (!clone.has_value()) continue;
          Status status = Status::restart;
          while (status == Status::restart) status = object->clone_into(cpu, **clone).status();
          if (status != Status::ok) continue;  // pinned
          clones.fetch_add(1);
          std::lock_guard guard(mutex);
          table[random.below(table.size())] = *clone;
        } else if (what == 1) {
          u64 at = 0;
          const u64 page = random.below(kPages);
          Result<u64> pinned = u64{0};
          while (pinned.has_value() && *pinned == 0) pinned = object->pin(cpu, page, 1, &at);
          if (!pinned.has_value()) continue;
          if (MUST(object->page(cpu, page, Access::write)).value != at) __builtin_trap();  // I1
          object->unpin(cpu, page, 1);
        } else if (what < 4) {
          AddressSpace& space = *spaces[random.below(2)];
          auto at = space.map(
              cpu, {.memory = *object, .pages = kPages, .prot = Protection::read_write, .max = Protection::read_write});
          if (!at.has_value()) continue;
          for (u32 touch = 0; touch < 20; ++touch) {
            std::ignore = space.handle_fault(cpu, *at + random.below(kPages) * kPageSize,
                                             random.below(2) == 0 ? Access::write : Access::read);
          }
          for (Progress p; !p.finished;) p = MUST(space.unmap(cpu, *at, kPages * kPageSize));
        } else {
          auto page = object->page(cpu, random.below(kPages), random.below(2) == 0 ? Access::write : Access::read);
          if (page.status() == Status::restart) std::ignore = object->withdraw(cpu);
        }
        if (&cpu == &m.cpu()) {
          m.machine().orphans.adopt(cpu);
          cpu.work.run(cpu, 4);
        }
      }
    });
    EXPECT_GT(clones.load(), 20u);
  }
  EXPECT_EQ(m.baseline(), before);
}

}  // namespace
}  // namespace keel::testing
