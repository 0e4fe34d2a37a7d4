#include "kernel/platform/text_hash.h"

#include <arch/integrity.h>
#include <gtest/gtest.h>

#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

constexpr u64 kSecond = 1'000'000'000;

class TextHashTest : public ::testing::Test {
 protected:
  TextHashTest() {
    for (const KnobDescription& d : kKnobs) {
      if (d.maximum == 1) platform().config.set(d.knob, d.knob == Knob::hash_kernel_text_enabled);
    }
    platform().config.set(Knob::hash_kernel_text_interval_sec, 10);
    MUST(platform().start(k.cpu()));
    enter_self_interrupt(k.cpu());
  }
  ~TextHashTest() override {
    platform().config.set(Knob::hash_kernel_text_enabled, 0);
    k.advance(2 * kSecond);
  }
  Platform& platform() { return k.machine().platform; }
  TestKernel k;
};

TEST_F(TextHashTest, ComparesOnceInAnInterval) {
  k.advance(kSecond);
  EXPECT_EQ(platform().text_checks.load(kRelaxed), 1u);  // 3 pages: 192 steps of half a millisecond
  k.advance(8 * kSecond);
  EXPECT_EQ(platform().text_checks.load(kRelaxed), 1u);
  k.advance(2 * kSecond);
  EXPECT_EQ(platform().text_checks.load(kRelaxed), 2u);
  // A shorter interval counts at once, not when the long one is over.
  platform().config.set(Knob::hash_kernel_text_interval_sec, 1);
  k.advance(4 * kSecond);
  EXPECT_GE(platform().text_checks.load(kRelaxed), 4u);
}

TEST_F(TextHashTest, OneChangedBitIsAPanicThatNamesThePage) {
  k.advance(kSecond);
  EXPECT_DEATH(
      {
        arch::change_constant(2 * kPageSize + 4095);
        k.advance(20 * kSecond);
      },
      "the kernel's code or constants were changed: page 2");
}

TEST(TextHash, WithoutMemoryItFailsAndTakesNothing) {
  TestMachine m;
  const auto before = m.baseline();
  TextHash hash(m.machine().platform);
  m.machine().faults.fail_after(1);
  EXPECT_EQ(hash.initialise(m.cpu()).status(), Status::no_memory);
  EXPECT_EQ(m.baseline(), before);
}

}  // namespace
}  // namespace keel::testing
