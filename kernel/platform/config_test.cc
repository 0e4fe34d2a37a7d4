// Settings: what config_read and config_set answer, and what a weakening leaves behind.
#include "kernel/platform/config.h"

#include <gtest/gtest.h>

#include <cstring>

#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

class ConfigTest : public ::testing::Test {
 protected:
  CapIndex control(Rights rights) {
    return k.copy(a, k.give(a, k.machine().kernel_control()), a, rights | rights::common);
  }
  CallResult set(CapIndex capability, Knob knob, u64 value) {
    return k.call(a, Call::config_set, capability, {u64(knob), value});
  }
  Config& config() { return k.machine().platform.config; }
  // Records of weakenings.
  std::vector<AuditRecord> weakenings() {
    AuditRecord records[AuditRing::kRecords];
    const auto part = k.cpu().audit.read(k.machine().clock, 0, records);
    std::vector<AuditRecord> found;
    for (u64 i = 0; i < part.count; ++i) {
      if (records[i].event == AuditEvent::weaken) found.push_back(records[i]);
    }
    return found;
  }
  TestKernel k;
  Thread& a = k.make_thread();
  CapIndex tune = control(rights::kernel_control::tune);
  CapIndex weaken = control(rights::kernel_control::tune | rights::kernel_control::weaken);
};

TEST_F(ConfigTest, StartsAsTheProfileSays) {
  auto r = k.call(a, Call::config_read, control(rights::kernel_control::read));
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r.word[0], kKernelConfigVersion);
  EXPECT_EQ(r.word[1], u64(kProfile));
  EXPECT_EQ(r.word[2], Config::available());
  ASSERT_EQ(r.word[3], sizeof(KernelConfig));
  KernelConfig read;
  std::memcpy(&read, k.page(a).words, sizeof read);
  for (const KnobDescription& knob : kKnobs)
    EXPECT_EQ(field(read, knob.knob), knob.defaults[u32(kProfile)]) << knob.name;
  EXPECT_TRUE(k.call(a, Call::config_read, tune).is(Status::missing_right));
}

TEST_F(ConfigTest, EachSettingTakesItsRangeAndNoMore) {
  config().set(Knob::watchdog_enabled, 0);  // nothing begins to run
  for (const KnobDescription& knob : kKnobs) {
    if (knob.maximum == 1) continue;
    SCOPED_TRACE(knob.name);
    for (u32 value : {knob.minimum, knob.maximum}) {
      const u32 before = config().get(knob.knob);
      auto r = set(weaken, knob.knob, value);
      ASSERT_TRUE(r.ok());
      EXPECT_EQ(r.word[0], before);
      EXPECT_EQ(config().get(knob.knob), value);
    }
    EXPECT_TRUE(set(weaken, knob.knob, u64{knob.maximum} + 1).is(Status::out_of_range));
    EXPECT_TRUE(set(weaken, knob.knob, u64{1} << 32 | knob.minimum).is(Status::out_of_range));
    if (knob.minimum > 0) {
      EXPECT_TRUE(set(weaken, knob.knob, knob.minimum - 1).is(Status::out_of_range));
    }
    EXPECT_EQ(config().get(knob.knob), knob.maximum);
  }
  EXPECT_TRUE(k.call(a, Call::config_set, weaken, {0, 0}).is(Status::not_found));
  EXPECT_TRUE(k.call(a, Call::config_set, weaken, {kKnobNumbers, 0}).is(Status::not_found));
  EXPECT_TRUE(k.call(a, Call::config_set, weaken, {~u64{0}, 0}).is(Status::not_found));
  k.settle();
}

TEST_F(ConfigTest, WeakeningTakesARightAndLeavesARecord) {
  // A higher sample rate is fewer checks.
  const u32 before = config().get(Knob::invariants_sample_rate);
  EXPECT_TRUE(set(tune, Knob::invariants_sample_rate, before + 1).is(Status::missing_right));
  EXPECT_TRUE(set(tune, Knob::invariants_enabled, 0).is(Status::missing_right));
  EXPECT_EQ(config().get(Knob::invariants_sample_rate), before);
  EXPECT_TRUE(config().is_on(Knob::invariants_enabled));
  EXPECT_TRUE(weakenings().empty());
  // To the stronger side, and where it is already, tuning is enough.
  EXPECT_TRUE(set(tune, Knob::invariants_sample_rate, before).ok());
  EXPECT_TRUE(set(tune, Knob::invariants_sample_rate, 1).ok());
  EXPECT_TRUE(weakenings().empty());
  ASSERT_TRUE(set(weaken, Knob::invariants_sample_rate, 7).ok());
  ASSERT_EQ(weakenings().size(), 1u);
  const AuditRecord record = weakenings()[0];
  EXPECT_EQ(record.process, a.process->id());
  EXPECT_EQ(record.object, u64(Knob::invariants_sample_rate));
  EXPECT_EQ(record.other, 7u);
  EXPECT_EQ(record.rights, rights::kernel_control::weaken);
  EXPECT_TRUE(set(control(rights::kernel_control::read), Knob::invariants_sample_rate, 1).is(Status::missing_right));
}

TEST_F(ConfigTest, ProfilesHaveWhatTheTableSays) {
  EXPECT_FALSE(has_feature(Profile::standard, Feature::ram_scrubber));
  EXPECT_TRUE(has_feature(Profile::hardened, Feature::ram_scrubber));
  EXPECT_TRUE(has_feature(Profile::standard, Feature::none));
  EXPECT_FALSE(has_feature(Profile::hardened, Feature::debug_asserts));
  for (const KnobDescription& knob : kKnobs) {
    for (Profile p : {Profile::dev, Profile::standard, Profile::hardened}) {
      if (has_feature(p, knob.feature)) {
        EXPECT_GE(knob.defaults[u32(p)], knob.minimum) << knob.name;
      } else {
        EXPECT_EQ(knob.defaults[u32(p)], 0u) << knob.name;
      }
    }
  }
}

}  // namespace
}  // namespace keel::testing
