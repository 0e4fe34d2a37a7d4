#include "kernel/cap/seal.h"

#include "kernel/cap/two_processes_rig_test.h"

namespace keel::testing {
namespace {

using Words = std::array<u64, 5>;

class SealTest : public TwoProcesses {
 protected:
  Words seal(CapIndex source) { return seal(sealer, source); }
  Words seal(CapIndex through, CapIndex source) {
    auto r = k.call(a, Call::cap_seal, through, {source.value});
    EXPECT_TRUE(r.ok());
    return {r.word[0], r.word[1], r.word[2], r.word[3], r.word[4]};
  }
  CallResult unseal(CapIndex through, const Words& w) {
    return k.call(b, Call::cap_unseal, through, {w[0], w[1], w[2], w[3], w[4]});
  }
  CallResult unseal(const Words& w) { return unseal(unsealer, w); }

  CapIndex sealer = k.give(a, k.machine().sealer());
  CapIndex unsealer = k.give(b, k.machine().sealer());
  CapIndex top = notification(a);
  static constexpr Rights kSome =
      rights::transfer | rights::derive | rights::notification::signal | rights::notification::wait;
  CapIndex held = k.copy(a, top, a, kSome, 6);
};

TEST_F(SealTest, ATokenBecomesACapabilityAgain) {
  const Words token = seal(held);
  auto made = unseal(token);
  ASSERT_TRUE(made.ok());
  auto info = k.call(b, Call::cap_info, made.cap());
  EXPECT_EQ(info.word[0], u64(ObjectKind::notification) | u64{kSome} << 16);
  EXPECT_EQ(info.word[1], 6u);
  EXPECT_TRUE(k.call(b, Call::notification_signal, made.cap(), {2}).ok());
  EXPECT_EQ(k.call(a, Call::notification_wait, top, {0}).word[0], 2u);
  EXPECT_TRUE(unseal(token).ok());  // as often as one likes
}

TEST_F(SealTest, ItIsAChildOfWhatWasSealed) {
  auto made = unseal(seal(held));
  EXPECT_TRUE(k.call(a, Call::cap_revoke, top).ok());
  EXPECT_FALSE(live(b, made.cap()));
}

TEST_F(SealTest, EveryBitCounts) {
  const Words token = seal(held);
  for (u32 word = 0; word < 5; ++word) {
    for (u32 bit = 0; bit < 64; ++bit) {
      Words forged = token;
      forged[word] ^= u64{1} << bit;
      EXPECT_TRUE(unseal(forged).is(Status::access_denied)) << word << " " << bit;
    }
  }
  EXPECT_TRUE(unseal(Words{}).is(Status::access_denied));
  EXPECT_TRUE(unseal(token).ok());
}

TEST_F(SealTest, ATokenOfOneCapabilityDoesNotOpenAnother) {
  const Words first = seal(held);
  const Words second = seal(top);
  Words mixed = second;
  mixed[3] = first[3], mixed[4] = first[4];
  EXPECT_TRUE(unseal(mixed).is(Status::access_denied));
}

TEST_F(SealTest, DiesWithTheCapability) {
  const Words token = seal(held);
  EXPECT_TRUE(k.call(a, Call::cap_delete, held).ok());
  EXPECT_TRUE(unseal(token).is(Status::revoked));
  CapIndex next = notification(a);  // in the same slot
  EXPECT_EQ(a.process->caps.number_of(next), a.process->caps.number_of(held));
  EXPECT_TRUE(unseal(token).is(Status::revoked));
}

TEST_F(SealTest, DiesWhenTheCapabilityIsMoved) {
  const Words token = seal(held);
  EXPECT_TRUE(k.call(a, Call::cap_move, held).ok());
  EXPECT_TRUE(unseal(token).is(Status::revoked));
}

TEST_F(SealTest, DiesWithARevocation) {
  const Words token = seal(held);
  EXPECT_TRUE(k.call(a, Call::cap_revoke, top).ok());
  EXPECT_TRUE(unseal(token).is(Status::revoked));
}

TEST_F(SealTest, DiesWithTheProcess) {
  const Words token = seal(held);
  a.process->kill(k.cpu(), 0);
  EXPECT_TRUE(unseal(token).is(Status::revoked));
  k.settle();
  EXPECT_TRUE(unseal(token).is(Status::revoked));
}

TEST_F(SealTest, ATokenOfAnotherBootIsAForgery) {
  const Words token = seal(held);
  k.machine().sealer().initialise(k.cpu(), k.machine().random);
  EXPECT_TRUE(unseal(token).is(Status::access_denied));
}

TEST_F(SealTest, SealingIsGivingOn) {
  EXPECT_TRUE(k.call(a, Call::cap_seal, sealer, {12345}).is(Status::bad_capability));
  for (Rights lacking : {rights::transfer, rights::derive}) {
    CapIndex weak = k.copy(a, top, a, Rights(~lacking));
    EXPECT_TRUE(k.call(a, Call::cap_seal, sealer, {weak.value}).is(Status::missing_right));
  }
}

TEST_F(SealTest, SealingAndUnsealingAreRightsApart) {
  const Words token = seal(held);
  CapIndex only_unseal = k.copy(b, unsealer, b, rights::sealer::unseal);
  CapIndex only_seal = k.copy(b, unsealer, b, rights::sealer::seal);
  EXPECT_TRUE(unseal(only_unseal, token).ok());
  EXPECT_TRUE(unseal(only_seal, token).is(Status::missing_right));
  EXPECT_TRUE(k.call(b, Call::cap_seal, only_unseal, {0}).is(Status::missing_right));
  EXPECT_TRUE(k.call(b, Call::cap_revoke, unsealer).ok());
  EXPECT_TRUE(unseal(only_unseal, token).is(Status::bad_capability));
}

TEST_F(SealTest, DomainsAreApartAndSetOnce) {
  const Rights all = all_rights(ObjectKind::sealer);
  CapIndex in_five = k.call(a, Call::cap_derive, sealer, {all, 5}).cap();
  CapIndex for_five = k.call(b, Call::cap_derive, unsealer, {all, 5}).cap();
  CapIndex for_six = k.call(b, Call::cap_derive, unsealer, {all, 6}).cap();
  const Words token = seal(in_five, held);
  EXPECT_TRUE(unseal(for_five, token).ok());
  EXPECT_TRUE(unseal(for_six, token).is(Status::access_denied));
  EXPECT_TRUE(unseal(token).is(Status::access_denied));
  EXPECT_TRUE(unseal(for_five, seal(held)).is(Status::access_denied));
  EXPECT_TRUE(k.call(b, Call::cap_derive, for_five, {all, 6}).is(Status::missing_right));
  EXPECT_TRUE(k.call(b, Call::cap_derive, for_five, {all, 5}).ok());
}

TEST_F(SealTest, RunningOutOfMemoryOrSlotsChangesNothing) {
  const Words token = seal(held);
  EXPECT_GE(each_allocation_fails([&] { return unseal(token); }), 1u);
  b.process->caps.set_limit(b.process->caps.used());
  const auto held_before = k.baseline();
  EXPECT_TRUE(unseal(token).is(Status::no_slot));
  EXPECT_EQ(k.baseline(), held_before);
}

TEST_F(SealTest, TokensCostNoMemory) {
  const auto held_before = k.baseline();
  for (u32 i = 0; i < 1000; ++i) (void)seal(held);
  EXPECT_EQ(k.baseline(), held_before);
}

}  // namespace
}  // namespace keel::testing
