#include "kernel/cap/inspect.h"

#include "kernel/cap/two_processes_rig_test.h"

namespace keel::testing {
namespace {

class InspectTest : public TwoProcesses {
 protected:
  CallResult list(Thread& holder, u64 cursor, u64 up = 0) {
    return k.call(b, Call::capability_list, control, {holder.process->id(), cursor, up});
  }
  CallResult above(Thread& holder, CapIndex index, u64 up) {
    return list(holder, holder.process->caps.number_of(index), up);
  }
  static NodeWhat what(const CallResult& r) { return NodeWhat(r.word[1] & 0xff); }
  static u64 depth(const CallResult& r) { return r.word[1] >> 32; }

  CapIndex control = k.give(b, k.machine().kernel_control());
  CapIndex top = notification(a);
};

TEST_F(InspectTest, ListsWhatAProcessHolds) {
  CapIndex second = k.copy(a, top, a, rights::inspect | rights::notification::signal, 3);
  auto first = list(a, 0);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(what(first), NodeWhat::capability);
  EXPECT_EQ(first.word[2], a.process->id());
  EXPECT_EQ(first.word[3], top.value);
  EXPECT_EQ(first.word[7], 1u);  // one capability derived
  auto next = list(a, first.word[0]);
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(next.word[3], second.value);
  EXPECT_EQ(next.word[1] >> 8 & 0xff, u64(ObjectKind::notification));
  EXPECT_EQ(next.word[1] >> 16 & 0xffff, u64{rights::inspect | rights::notification::signal});
  EXPECT_EQ(next.word[4], first.word[4]);
  EXPECT_EQ(next.word[5], 3u);
  EXPECT_EQ(next.word[6], kForever.value);
  EXPECT_TRUE(list(a, next.word[0]).is(Status::not_found));
}

TEST_F(InspectTest, GoesUpToTheKernelPastWhatIsGone) {
  CapIndex middle = k.copy(a, top, b, kAll);
  CapIndex bottom = k.copy(b, middle, a, kAll);
  EXPECT_TRUE(k.call(b, Call::cap_delete, middle).ok());
  EXPECT_EQ(depth(above(a, bottom, 0)), 2u);
  auto gone = above(a, bottom, 1);
  EXPECT_EQ(what(gone), NodeWhat::deleted);
  EXPECT_EQ(gone.word[2], 0u);
  auto root = above(a, bottom, 2);
  EXPECT_EQ(root.word[3], top.value);
  EXPECT_EQ(root.word[7], u64{1} << 48);  // one deleted capability
  EXPECT_TRUE(above(a, bottom, 3).is(Status::not_found));
  EXPECT_TRUE(above(a, bottom, ~u64{0}).is(Status::not_found));
}

TEST_F(InspectTest, ShowsLeasesAndWhenTheyEnd) {
  const u64 end = k.now() + 5000;
  const Rights all = all_rights(ObjectKind::notification);
  CapIndex leased = k.call(a, Call::cap_derive_until, top, {all, 0, end}).cap();
  CapIndex below = k.call(a, Call::cap_derive_until, leased, {all, 0, end + 100}).cap();
  EXPECT_EQ(above(a, leased, 0).word[6], end);
  EXPECT_EQ(above(a, below, 0).word[6], end);  // the earliest counts
  EXPECT_EQ(what(above(a, below, 1)), NodeWhat::lease);
  EXPECT_EQ(above(a, below, 4).word[6], kForever.value);
}

TEST_F(InspectTest, CountsMappingsAndBindings) {
  CapIndex group = k.give(a, k.root());
  ASSERT_TRUE(k.call(a, Call::timer_create, group, {top.value, 1}).ok());
  EXPECT_EQ(above(a, top, 0).word[7], u64{1} << 32);
  CapIndex memory = k.call(a, Call::memory_create, group, {4}).cap();
  CapIndex space = k.give(a, *a.process->space());
  ASSERT_TRUE(k.call(a, Call::space_map, space, {memory.value, 0, 4, 1}).ok());
  EXPECT_EQ(above(a, memory, 0).word[7], u64{1} << 16);
  for (u32 i = 0; i < 300; ++i) k.copy(a, top, b, 0);
  const u64 many = above(a, top, 0).word[7];
  EXPECT_EQ((many & 0xffff) + (many >> 32 & 0xffff), 255u);
}

TEST_F(InspectTest, NeedsTheRightAndALivingProcess) {
  CapIndex weak = k.copy(b, control, b, Rights(~rights::kernel_control::audit));
  EXPECT_TRUE(k.call(b, Call::capability_list, weak, {a.process->id(), 0, 0}).is(Status::missing_right));
  EXPECT_TRUE(k.call(b, Call::capability_list, control, {0, 0, 0}).is(Status::not_found));
  EXPECT_TRUE(k.call(b, Call::capability_list, control, {~u64{0}, 0, 0}).is(Status::not_found));
  EXPECT_TRUE(list(a, CapSpace::kMaxSlots).is(Status::not_found));
  EXPECT_TRUE(list(a, 5000).is(Status::not_found));  // over many empty slots
  a.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_TRUE(list(a, 0).is(Status::not_found));
}

}  // namespace
}  // namespace keel::testing
