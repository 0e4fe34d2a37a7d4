#include "kernel/platform/boot_info.h"

#include <gtest/gtest.h>

#include <string>

#include "kernel/platform/boot_options.h"

namespace keel {
namespace {

TEST(BootInfo, SortsRangesAndDropsEmptyOnes) {
  BootInfo boot;
  boot.add_memory({PhysAddr(0x100000), 0x1000, MemoryKind::usable});
  boot.add_memory({PhysAddr(0), 0, MemoryKind::usable});
  boot.add_memory({PhysAddr(0x1000), 0x2000, MemoryKind::usable});
  boot.add_memory({PhysAddr(0x9000), 0x1000, MemoryKind::reserved});
  ASSERT_EQ(boot.memory().size(), 3u);
  EXPECT_EQ(boot.memory()[0].base, PhysAddr(0x1000));
  EXPECT_EQ(boot.memory()[1].base, PhysAddr(0x9000));
  EXPECT_EQ(boot.memory()[2].base, PhysAddr(0x100000));
  EXPECT_EQ(boot.usable_bytes(), 0x3000u);
}

TEST(BootInfo, IgnoresARangeThatWrapsAround) {
  BootInfo boot;
  boot.add_memory({PhysAddr(~u64{0} - 10), 100, MemoryKind::usable});
  EXPECT_TRUE(boot.memory().empty());
}

TEST(BootInfo, CountsRangesBeyondItsRoom) {
  BootInfo boot;
  for (u64 i = 0; i < BootInfo::kMaxMemoryRanges + 3; ++i) {
    boot.add_memory({PhysAddr(i * 0x1000), 0x1000, MemoryKind::usable});
  }
  EXPECT_EQ(boot.memory().size(), BootInfo::kMaxMemoryRanges);
  EXPECT_EQ(boot.dropped_ranges(), 3u);
}

TEST(BootInfo, TruncatesALongCommandLine) {
  BootInfo boot;
  boot.set_command_line(std::string(5000, 'x'));
  EXPECT_EQ(boot.command_line().size(), BootInfo::kMaxCommandLine);
}

TEST(BootOptions, FindsWordsAndValues) {
  std::string_view line = "selftest  seed=17 name=a=b seedling=3";
  EXPECT_TRUE(has_boot_option(line, "selftest"));
  EXPECT_FALSE(has_boot_option(line, "self"));
  EXPECT_EQ(boot_option(line, "name"), "a=b");
  EXPECT_EQ(boot_option_number(line, "seed"), 17u);
  EXPECT_FALSE(boot_option(line, "absent"));
}

TEST(BootOptions, LastWordWins) { EXPECT_EQ(boot_option_number("seed=1 seed=2", "seed"), 2u); }

TEST(BootOptions, RefusesWhatIsNoNumber) {
  EXPECT_FALSE(boot_option_number("seed=", "seed"));
  EXPECT_FALSE(boot_option_number("seed=12x", "seed"));
  EXPECT_FALSE(boot_option_number("seed=99999999999999999999999", "seed"));
}

}  // namespace
}  // namespace keel
