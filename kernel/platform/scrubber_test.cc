#include "kernel/platform/scrubber.h"

#include <gtest/gtest.h>

#include <cstring>

#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

constexpr u64 kSecond = 1'000'000'000;

class ScrubberTest : public ::testing::Test {
 protected:
  ScrubberTest() { set(Knob::ram_scrubber_enabled, 0); }
  ~ScrubberTest() override {
    set(Knob::ram_scrubber_enabled, 0);
    k.advance(2 * kSecond);
  }
  void set(Knob knob, u32 value) {
    for (const KnobDescription& d : kKnobs) {
      if (d.knob == knob) MUST(platform().set(k.cpu(), d, value));
    }
  }
  Platform& platform() { return k.machine().platform; }
  void zero_pages() {
    while (k.machine().frames.zero_ahead(k.cpu())) {
    }
  }
  TestKernel k{8 * kMiB};
};

TEST_F(ScrubberTest, ReadsAtItsRateWhileItIsOn) {
  k.advance(kSecond);
  EXPECT_EQ(platform().pages_read.load(kRelaxed), 0u);
  set(Knob::ram_scrubber_rate_pages_per_sec, 400);
  set(Knob::ram_scrubber_enabled, 1);
  enter_self_interrupt(k.cpu());
  k.advance(10 * kSecond);
  const u64 read = platform().pages_read.load(kRelaxed);
  EXPECT_NEAR(double(read), 4000, 40);  // twice all there is
  set(Knob::ram_scrubber_enabled, 0);
  k.advance(kSecond);
  const u64 end = platform().pages_read.load(kRelaxed);
  k.advance(10 * kSecond);
  EXPECT_EQ(platform().pages_read.load(kRelaxed), end);
  // On, off and on again within one wait: once.
  set(Knob::ram_scrubber_enabled, 1);
  set(Knob::ram_scrubber_enabled, 0);
  set(Knob::ram_scrubber_enabled, 1);
  enter_self_interrupt(k.cpu());
  k.advance(kSecond);
  EXPECT_NEAR(double(platform().pages_read.load(kRelaxed) - end), 400, 8);
}

TEST_F(ScrubberTest, AFrameThatIsNotZeroIsNeverGivenOut) {
  zero_pages();
  k.machine().frames.spoil_zeroed(k.cpu());
  set(Knob::ram_scrubber_enabled, 1);
  enter_self_interrupt(k.cpu());
  k.advance(kSecond);
  EXPECT_EQ(platform().bad_memory.load(kRelaxed), 1u);
  LogRecord record;
  ASSERT_TRUE(k.machine().log.read(k.cpu(), 1, &record));
  EXPECT_NE(std::string_view(record.text, record.bytes).find("is free and was changed"), std::string_view::npos);
  // Every frame that can be had from the zeroed ones is zero.
  u64 taken = 0;
  std::vector<Frame*> frames;
  for (u32 i = 0; i < Magazines::kZeroed; ++i) {
    Frame* frame = MUST(k.machine().frames.take_zeroed(k.cpu(), FrameUse::user));
    frames.push_back(frame);
    auto* words = static_cast<const u64*>(phys_to_virt(k.machine().frames.address(frame)));
    for (usize j = 0; j < kPageSize / 8; ++j) taken |= words[j];
  }
  EXPECT_EQ(taken, 0u);
  for (Frame* frame : frames) k.machine().frames.give(k.cpu(), frame);
  k.advance(10 * kSecond);
  EXPECT_EQ(platform().bad_memory.load(kRelaxed), 1u);  // the rest is sound
}

TEST_F(ScrubberTest, AFreeObjectThatWasWrittenToIsNeverUsedAgain) {
  struct Thing {
    u8 bytes[80];
  };
  Thing* thing = MUST(make<Thing>(k.cpu(), k.root()));
  destroy_object(k.cpu(), k.root(), thing);
  arch::unpoison(thing, sizeof *thing);
  reinterpret_cast<u8*>(thing)[40] ^= 4;  // a dangling write
  arch::poison(thing, sizeof *thing);
  set(Knob::ram_scrubber_enabled, 1);
  enter_self_interrupt(k.cpu());
  k.advance(kSecond);
  EXPECT_EQ(platform().bad_memory.load(kRelaxed), 1u);
  Thing* next = MUST(make<Thing>(k.cpu(), k.root()));  // would trap if it were that one
  EXPECT_NE(next, thing);
  destroy_object(k.cpu(), k.root(), next);
}

}  // namespace
}  // namespace keel::testing
