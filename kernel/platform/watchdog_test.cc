#include "kernel/platform/watchdog.h"

#include <gtest/gtest.h>

#include "kernel/mm/machine_rig_test.h"

namespace keel::testing {
namespace {

constexpr u64 kMs = 1'000'000;

class WatchdogTest : public ::testing::Test {
 protected:
  WatchdogTest() {
    m.cpu().arch.clock = other.arch.clock = 1000 * kMs;
    m.machine().add_cpu(other);
    m.machine().attach(other);
    platform().config.set(Knob::watchdog_timeout_ms, 1000);
    platform().config.set(Knob::watchdog_enabled, 1);
  }
  ~WatchdogTest() override {
    platform().config.set(Knob::watchdog_enabled, 0);
    pass(m.cpu(), 5000);
    other.arch.clock = m.cpu().arch.clock;
    pass(other, 0);
  }
  Platform& platform() { return m.machine().platform; }
  // The CPU takes its interrupts for so long.
  void pass(Cpu& cpu, u64 ms) {
    (void)cpu.work.run(cpu, 4);
    for (u64 i = 0; i <= ms; i += 50) {
      (void)cpu.timers.run(cpu, cpu.now_ns(), 8);
      if (i < ms) cpu.arch.clock += 50 * kMs;
    }
  }
  TestMachine m;
  Cpu other{m.machine(), 1};
};

TEST_F(WatchdogTest, WhoTakesInterruptsIsLeftAlone) {
  platform().watchdog.begin(m.cpu());
  for (u32 i = 0; i < 100; ++i) {
    pass(m.cpu(), 100);
    pass(other, 100);
  }
  EXPECT_FALSE(platform().watchdog.take_alarm(m.cpu()));
  EXPECT_FALSE(platform().watchdog.take_alarm(other));
}

TEST_F(WatchdogTest, WhoTakesNoneIsFoundByTheOneBefore) {
  platform().watchdog.begin(m.cpu());
  pass(m.cpu(), 100);
  pass(other, 100);
  pass(m.cpu(), 800);
  EXPECT_FALSE(platform().watchdog.take_alarm(other));
  pass(m.cpu(), 1500);
  EXPECT_TRUE(platform().watchdog.take_alarm(other));
  EXPECT_FALSE(platform().watchdog.take_alarm(other));  // once
  EXPECT_FALSE(platform().watchdog.take_alarm(m.cpu()));
}

TEST_F(WatchdogTest, NothingIsSaidAboutWhoHasNotBegun) {
  platform().watchdog.begin(m.cpu());
  pass(m.cpu(), 100);
  pass(m.cpu(), 10'000);
  EXPECT_FALSE(platform().watchdog.take_alarm(other));
}

TEST_F(WatchdogTest, OffItDoesNothing) {
  platform().config.set(Knob::watchdog_enabled, 0);
  platform().watchdog.begin(m.cpu());
  pass(m.cpu(), 100);
  pass(other, 100);
  EXPECT_EQ(m.cpu().timers.earliest(), kForever);
  EXPECT_EQ(other.timers.earliest(), kForever);
}

}  // namespace
}  // namespace keel::testing
