#include "user/services/manager/policy.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace keel::manager {
namespace {

struct PolicyTest : testing::Test {
  alignas(4096) std::byte memory[65536] = {};
  Config config;
  Table table = *Table::open(memory);

  void load(std::string_view text) {
    config = parse_config(text);
    for (const Service& s : config.services) ASSERT_NE(table.add(s.name, s.name), nullptr);
  }
  void set(std::string_view name, ServiceState state) { table.find(name)->state = state; }
  Readiness readiness(std::string_view name) { return readiness_of(*config.find(name), config, table); }
};

TEST_F(PolicyTest, AServiceWaitsForWhatItNeedsAndForPortsThatMayCome) {
  load(
      "[service log]\nexec=/l\nprovides=log\n[service fs]\nexec=/f\nneeds=log\nuses=block\n"
      "[driver disk]\nexec=/d\nmatch=pci:1af4:1042\nprovides=block\n");
  EXPECT_EQ(readiness("log").wait, Wait::nothing);
  EXPECT_EQ(readiness("fs").wait, Wait::needs);
  EXPECT_EQ(readiness("fs").blocked_by, "log");
  set("log", ServiceState::ready);
  EXPECT_EQ(readiness("fs").wait, Wait::uses);
  EXPECT_EQ(readiness("fs").blocked_by, "disk");
  for (const ServiceState settled : {ServiceState::absent, ServiceState::failed, ServiceState::ready}) {
    set("disk", settled);
    EXPECT_EQ(readiness("fs").wait, Wait::nothing);
  }
  set("log", ServiceState::restarting);
  EXPECT_EQ(readiness("fs").wait, Wait::needs);
  set("log", ServiceState::failed);
  EXPECT_EQ(readiness("fs").wait, Wait::hopeless);
}

TEST_F(PolicyTest, RestartsBackOffAndEndInFailure) {
  load("[service a]\nexec=/a\nbackoff=10ms..50ms\nmax-restarts=4/10s\nrestart=always\n");
  Record& r = *table.find("a");
  const Service& service = *config.find("a");
  u64 now = 1'000'000'000;
  std::vector<u64> waits;
  for (u32 i = 0; i < 4; ++i) {
    ASSERT_EQ(decide_after_death(service, r, now, 1), AfterDeath::restart);
    waits.push_back((r.start_at_ns - now) / 1'000'000);
    now = r.start_at_ns + 1'000'000;
  }
  EXPECT_EQ(waits, (std::vector<u64>{10, 20, 40, 50}));
  EXPECT_EQ(decide_after_death(service, r, now, 1), AfterDeath::give_up);
  now += 11'000'000'000;  // a quiet time later the count begins anew
  ASSERT_EQ(decide_after_death(service, r, now, 1), AfterDeath::restart);
  EXPECT_EQ(r.start_at_ns, now + 10'000'000);
}

TEST_F(PolicyTest, ThePolicyTellsEndsFromFailures) {
  load("[service once]\nexec=/o\n[service never]\nexec=/n\nrestart=never\n[service always]\nexec=/a\nrestart=always\n");
  EXPECT_EQ(decide_after_death(*config.find("once"), *table.find("once"), 1, 0), AfterDeath::stop);
  EXPECT_EQ(decide_after_death(*config.find("once"), *table.find("once"), 1, 3), AfterDeath::restart);
  EXPECT_EQ(decide_after_death(*config.find("never"), *table.find("never"), 1, 3), AfterDeath::stop);
  EXPECT_EQ(decide_after_death(*config.find("always"), *table.find("always"), 1, 0), AfterDeath::restart);
}

TEST_F(PolicyTest, DriversMatchByNumberOrClass) {
  load("[driver d]\nexec=/d\nmatch=pci:1af4:1042, pci-class:01:08\n");
  const Service& d = *config.find("d");
  EXPECT_TRUE(matches(d, 0x1af4, 0x1042, 0));
  EXPECT_FALSE(matches(d, 0x1af4, 0x1041, 0));
  EXPECT_TRUE(matches(d, 1, 2, 0x010802));
  EXPECT_FALSE(matches(d, 1, 2, 0x010602));
}

TEST_F(PolicyTest, PortsOfFurtherInstancesHaveNumbers) {
  load("[driver disk]\nexec=/d\nmatch=pci:1af4:1042\nprovides=block\n");
  ASSERT_NE(table.add("disk.2", "disk"), nullptr);
  EXPECT_EQ(find_provider("block", config, table).record, table.find("disk"));
  EXPECT_EQ(find_provider("block.2", config, table).record, table.find("disk.2"));
  EXPECT_EQ(find_provider("block.3", config, table).record, nullptr);
  EXPECT_EQ(instance_of(*table.find("disk.2")), 2u);
  EXPECT_EQ(instance_of(*table.find("disk")), 1u);
}

TEST(Table, SurvivesItsManager) {
  alignas(4096) static std::byte memory[65536];
  {
    Table table = *Table::open(memory);
    EXPECT_FALSE(table.adopted());
    Record& r = *table.add("log", "log");
    r.process = 0x123;
    r.state = ServiceState::ready;
    table.header().manager_port = 0x55;
  }
  Table table = *Table::open(memory);
  ASSERT_TRUE(table.adopted());
  ASSERT_EQ(table.records().size(), 1u);
  EXPECT_EQ(text_of(table.find("log")->name), "log");
  EXPECT_TRUE(table.names(0x123));
  EXPECT_TRUE(table.names(0x55));
  EXPECT_FALSE(table.names(0x124));
}

TEST(Table, DamageStartsAfresh) {
  alignas(4096) static std::byte memory[65536];
  Table::open(memory)->add("log", "log");
  Table table = *Table::open(memory);
  table.find("log")->state = static_cast<ServiceState>(77);
  Table fresh = *Table::open(memory);
  EXPECT_FALSE(fresh.adopted());
  EXPECT_TRUE(fresh.records().empty());
  EXPECT_FALSE(Table::open(std::span(memory).first(100)).has_value());
}

}  // namespace
}  // namespace keel::manager
