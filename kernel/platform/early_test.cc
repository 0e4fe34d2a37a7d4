#include "kernel/platform/early.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <arch/memory.h>

namespace keel::testing {
namespace {

constexpr u64 kMiB = u64{1} << 20;

TEST(Early, TakesPagesAboveWhatIsInUseAndReportsThem) {
  // On the host an address is its own physical address, so the pages must be there.
  void* memory = mmap(nullptr, 16 * kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  if (memory == MAP_FAILED) GTEST_SKIP();
  const PhysAddr base = virt_to_phys(memory);
  BootInfo boot;
  boot.add_memory({PhysAddr(0), 640 << 10, MemoryKind::usable});
  boot.add_memory({base, 16 * kMiB, MemoryKind::usable});
  boot.add_memory({base + 16 * kMiB, kMiB, MemoryKind::reserved});
  boot.kernel_image = {base + kMiB, kMiB, MemoryKind::reserved};
  boot.module = {base + 14 * kMiB, kMiB};
  EarlyAllocator early(boot);
  EXPECT_EQ(early.used().bytes, 0u);
  for (u64 i = 0; i < 100; ++i) {
    const PhysAddr page = MUST(early.take());
    ASSERT_TRUE(is_aligned(page.value, kPageSize));
    ASSERT_GE(page, base + 2 * kMiB);
    ASSERT_LE(page + kPageSize, base + 14 * kMiB);
    ASSERT_EQ(*static_cast<u64*>(phys_to_virt(page)), 0u);
  }
  EXPECT_EQ(early.used().bytes, 100 * kPageSize);
  const MemoryLayout layout = memory_layout(boot, &early);
  EXPECT_EQ(layout.ram_count, 2u);
  EXPECT_EQ(layout.in_use_count, 4u);
  u64 taken = 100;
  while (early.take().has_value()) ++taken;
  EXPECT_EQ(taken, 12 * kMiB / kPageSize);
  munmap(memory, 16 * kMiB);
}

TEST(Early, NoMemoryIsAnError) {
  BootInfo boot;
  boot.add_memory({PhysAddr(0), 640 << 10, MemoryKind::usable});
  boot.add_memory({PhysAddr(u64{8} << 30), 640 << 20, MemoryKind::usable});
  EarlyAllocator early(boot);
  EXPECT_EQ(early.take().status(), Status::no_memory);
}

}  // namespace
}  // namespace keel::testing
