#include "kernel/cap/space.h"

#include <gtest/gtest.h>

#include "kernel/syscall/kernel_rig_test.h"
#include "kernel/syscall/scope.h"

namespace keel::testing {
namespace {

class CapTest : public ::testing::Test {
 protected:
  CapTest() : before(k.baseline()) {}
  ~CapTest() override {
    k.check();
    k.tear_down();
    EXPECT_EQ(k.baseline(), before);
  }
  CapIndex notification(Thread& t) { return k.give(t, *MUST(Notification::create(k.cpu(), k.root()))); }
  CallResult derive(Thread& t, CapIndex parent, Rights rights = kAll, u64 scope = 0) {
    return k.call(t, Call::cap_derive, parent,
                  {u64(rights & CapSlot::rights(MUST(t.process->caps.find(parent))->load())), scope});
  }
  bool live(Thread& t, CapIndex index) { return t.process->caps.find(index).has_value(); }

  static constexpr Rights kAll = 0xffff;
  TestKernel k;
  TestMachine::Baseline before;
  Thread& a = k.make_thread();
  Thread& b = k.make_thread();
};

// --- Spaces

TEST_F(CapTest, DeletedIndexIsStaleAlsoWhenTheSlotIsUsedAgain) {
  CapIndex first = notification(a);
  EXPECT_TRUE(k.call(a, Call::cap_delete, first).ok());
  EXPECT_TRUE(k.call(a, Call::cap_info, first).is(Status::bad_capability));
  EXPECT_TRUE(k.call(a, Call::cap_delete, first).is(Status::bad_capability));
  CapIndex second = notification(a);
  EXPECT_EQ(a.process->caps.number_of(second), a.process->caps.number_of(first));
  EXPECT_NE(second, first);
  EXPECT_TRUE(k.call(a, Call::cap_info, first).is(Status::bad_capability));
  EXPECT_TRUE(k.call(a, Call::cap_info, second).ok());
}

TEST_F(CapTest, GuessedIndicesNameNothing) {
  CapIndex held = notification(a);
  Random random(test_seed());
  for (u32 i = 0; i < 20'000; ++i) {
    const u64 guess = random.next() >> random.below(64);
    if (guess == held.value) continue;
    EXPECT_FALSE(a.process->caps.find(CapIndex(guess)).has_value()) << guess;
  }
  for (u32 bit = 0; bit < 64; ++bit) EXPECT_FALSE(live(a, CapIndex(held.value ^ u64{1} << bit))) << bit;
  EXPECT_FALSE(live(a, kNoCapability));
}

TEST_F(CapTest, FullSpaceAnswersNoSlotAndAgainHasRoomAfterADelete) {
  CapIndex held = notification(a);
  a.process->caps.set_limit(200);
  std::vector<CapIndex> made;
  for (;;) {
    auto r = derive(a, held);
    if (!r.ok()) {
      EXPECT_TRUE(r.is(Status::no_slot));
      break;
    }
    made.push_back(r.cap());
  }
  EXPECT_EQ(made.size(), 199u);
  EXPECT_TRUE(k.call(a, Call::cap_delete, made[77]).ok());
  EXPECT_TRUE(derive(a, held).ok());
  EXPECT_TRUE(derive(a, held).is(Status::no_slot));
}

TEST_F(CapTest, ASpaceHoldsNoMoreThanItsTable) {
  CapIndex held = notification(a);
  CapSlot* slot = MUST(a.process->caps.find(held));
  u32 made = 1;
  Status status = Status::ok;
  for (;; ++made) {
    auto r = a.process->caps.insert_child(k.cpu(), *slot, rights::inspect, 0);
    status = r.status();
    if (!r.has_value()) break;
  }
  EXPECT_EQ(status, Status::no_slot);
  EXPECT_EQ(made, CapSpace::kMaxSlots - 1);  // slot 0 is never given out
}

TEST_F(CapTest, ThreadsFindWhatIsInAGrownTable) {
  CapIndex held = notification(a);
  Thread& sibling = k.make_thread(*a.process);
  CapSlot* slot = MUST(a.process->caps.find(held));
  CapIndex last;
  for (u32 i = 0; i < (CapSpace::kFewChunks + 2) * CapSpace::kSlotsPerChunk; ++i) {
    last = MUST(a.process->caps.insert_child(k.cpu(), *slot, rights::notification::signal, 0));
  }
  Thread& later = k.make_thread(*a.process);
  k.fast = true;
  for (Thread* t : {&a, &sibling, &later}) {
    EXPECT_TRUE(k.call(*t, Call::notification_signal, held, {1}).ok());
    EXPECT_TRUE(k.call(*t, Call::notification_signal, last, {2}).ok());
  }
}

TEST_F(CapTest, AnIndexBeyondTheTableNamesNothing) {
  CapIndex held = notification(a);
  k.fast = true;
  for (u32 chunk = 1; chunk < CapSpace::kChunks; ++chunk) {
    const CapIndex other(held.value ^ u64{chunk} * CapSpace::kSlotsPerChunk << CapSlot::kNumberShift);
    EXPECT_TRUE(k.call(a, Call::call, other).is(Status::bad_capability)) << chunk;
  }
}

TEST_F(CapTest, MemoryForAGrownTableMayBeMissing) {
  CapIndex held = notification(a);
  CapSlot* slot = MUST(a.process->caps.find(held));
  const u32 few = CapSpace::kFewChunks * CapSpace::kSlotsPerChunk;
  while (a.process->caps.used() + 1 < few) MUST(a.process->caps.insert_child(k.cpu(), *slot, 0, 0));
  for (u64 failing = 1;; ++failing) {
    k.machine().faults.fail_after(failing);
    auto made = a.process->caps.insert_child(k.cpu(), *slot, 0, 0);
    k.machine().faults.fail_after(0);
    if (made.has_value()) {
      EXPECT_GT(failing, 2u);
      break;
    }
    EXPECT_EQ(made.status(), Status::no_memory);
    EXPECT_EQ(a.process->caps.used() + 1, few);
  }
}

TEST_F(CapTest, LimitsAreChecked) {
  CapIndex self = k.give(a, *a.process);
  EXPECT_TRUE(k.call(a, Call::process_set_limits, self, {16, 0}).is(Status::invalid_argument));
  EXPECT_TRUE(k.call(a, Call::process_set_limits, self, {16, CapSpace::kMaxSlots + 1}).is(Status::invalid_argument));
  EXPECT_TRUE(k.call(a, Call::process_set_limits, self, {64, 10}).is(Status::invalid_argument));
  EXPECT_TRUE(k.call(a, Call::process_set_limits, self, {20, 1}).ok());
  EXPECT_TRUE(derive(a, self).is(Status::no_slot));
  EXPECT_TRUE(k.call(a, Call::process_set_limits, self, {21, 10}).is(Status::invalid_argument));  // above one's own
}

TEST_F(CapTest, MoveMakesTheOldIndexStaleAndKeepsTheChildren) {
  CapIndex held = notification(a);
  CapIndex child = derive(a, held).cap();
  auto moved = k.call(a, Call::cap_move, held);
  ASSERT_TRUE(moved.ok());
  EXPECT_FALSE(live(a, held));
  EXPECT_TRUE(live(a, child));
  EXPECT_TRUE(k.call(a, Call::cap_revoke, moved.cap()).ok());
  EXPECT_FALSE(live(a, child));
  EXPECT_TRUE(live(a, moved.cap()));
}

TEST_F(CapTest, GrantNeedsTransferAndDeriveAndALiveReceiver) {
  CapIndex held = notification(a);
  CapIndex other = k.give(a, *b.process);
  const Rights some = rights::inspect | rights::notification::signal;
  auto granted = k.call(a, Call::cap_grant, other, {held.value, some});
  ASSERT_TRUE(granted.ok());
  EXPECT_TRUE(k.call(b, Call::notification_signal, granted.cap(), {1}).ok());
  EXPECT_TRUE(k.call(b, Call::notification_wait, granted.cap(), {0}).is(Status::missing_right));
  for (Rights lacking : {rights::transfer, rights::derive}) {
    CapIndex weak = derive(a, held, Rights(~lacking)).cap();
    EXPECT_TRUE(k.call(a, Call::cap_grant, other, {weak.value, some}).is(Status::missing_right));
  }
  EXPECT_TRUE(k.call(a, Call::cap_grant, other, {12345, some}).is(Status::bad_capability));
  EXPECT_TRUE(k.call(a, Call::cap_grant, other, {held.value, u64{1} << 9}).is(Status::missing_right));
  EXPECT_TRUE(k.call(a, Call::cap_grant, other, {held.value, u64{1} << 16}).is(Status::invalid_argument));
  b.process->kill(k.cpu(), 0);
  EXPECT_TRUE(k.call(a, Call::cap_grant, other, {held.value, some}).is(Status::bad_state));
  k.settle();
  EXPECT_TRUE(k.call(a, Call::cap_grant, other, {held.value, some}).is(Status::bad_state));
}

TEST_F(CapTest, DeriveNeverWidens) {
  CapIndex held = notification(a);
  CapIndex weak = derive(a, held, rights::derive | rights::inspect).cap();
  EXPECT_TRUE(k.call(a, Call::cap_derive, weak, {rights::derive | rights::revoke}).is(Status::missing_right));
  EXPECT_TRUE(k.call(a, Call::cap_derive, weak, {u64{1} << 63}).is(Status::invalid_argument));
  CapIndex leaf = derive(a, weak, rights::inspect).cap();
  EXPECT_TRUE(k.call(a, Call::cap_derive, leaf, {0}).is(Status::missing_right));
}

TEST_F(CapTest, ABadgeIsSetOnceAndWithTheRight) {
  CapIndex port = k.give(a, *MUST(Port::create(k.cpu(), k.root(), 0)));
  auto badged = derive(a, port, kAll, 5);
  ASSERT_TRUE(badged.ok());
  EXPECT_TRUE(derive(a, badged.cap(), kAll, 6).is(Status::missing_right));
  auto same = derive(a, badged.cap());
  ASSERT_TRUE(same.ok());
  EXPECT_EQ(k.call(a, Call::cap_info, same.cap()).word[1], 5u);
  CapIndex unbadgeable = derive(a, port, Rights(~rights::port::badge)).cap();
  EXPECT_TRUE(derive(a, unbadgeable, kAll, 5).is(Status::missing_right));
}

// --- Scopes

constexpr u64 range(u64 first, u64 count) { return first | count << 32; }

TEST(Scope, MemoryNarrowsRelativeToTheParent) {
  const auto narrow = [](u64 parent, u64 wanted) {
    return narrow_scope(ObjectKind::memory, Rights{0}, parent, wanted);
  };
  EXPECT_EQ(*narrow(0, range(2, 8)), range(2, 8));
  EXPECT_EQ(*narrow(range(2, 8), range(1, 7)), range(3, 7));
  EXPECT_EQ(*narrow(range(2, 8), 0), range(2, 8));
  EXPECT_EQ(narrow(range(2, 8), range(1, 8)).status(), Status::out_of_range);
  EXPECT_EQ(narrow(range(2, 8), range(8, 1)).status(), Status::out_of_range);
  EXPECT_EQ(narrow(range(2, 4), range(2, 4)).status(), Status::out_of_range);  // not the same pages
  EXPECT_EQ(narrow(range(2, 8), range(5, 0)).status(), Status::out_of_range);
  EXPECT_EQ(narrow(range(2, 8), range(0xffff'ffff, 1)).status(), Status::out_of_range);
  EXPECT_EQ(narrow(range(0xffff'fff0, 0xf), range(0xf, 1)).status(), Status::out_of_range);
  EXPECT_EQ(narrow(range(0xffff'fff0, 0xf), range(0x10, 1)).status(), Status::out_of_range);
  EXPECT_EQ(narrow(range(2, 8), range(0, 0xffff'ffff)).status(), Status::out_of_range);
}
TEST(Scope, LinesAndPortsHaveAbsoluteNumbers) {
  for (ObjectKind kind : {ObjectKind::interrupt_control, ObjectKind::io_ports}) {
    const auto narrow = [kind](u64 parent, u64 wanted) { return narrow_scope(kind, Rights{0}, parent, wanted); };
    EXPECT_EQ(*narrow(0, range(0x60, 4)), range(0x60, 4));
    EXPECT_EQ(*narrow(range(0x60, 4), range(0x61, 3)), range(0x61, 3));
    EXPECT_EQ(*narrow(range(0x60, 4), range(0x60, 4)), range(0x60, 4));
    EXPECT_EQ(narrow(range(0x60, 4), range(0x5f, 2)).status(), Status::out_of_range);
    EXPECT_EQ(narrow(range(0x60, 4), range(0x63, 2)).status(), Status::out_of_range);
    EXPECT_EQ(narrow(range(0x60, 4), range(0x63, 0xffff'ffff)).status(), Status::out_of_range);
    EXPECT_EQ(narrow(range(0x60, 4), range(0x60, 0)).status(), Status::out_of_range);
  }
}
TEST(Scope, NotificationBitsOnlyGoAway) {
  EXPECT_EQ(*narrow_scope(ObjectKind::notification, Rights{0}, 0, 6), 6u);
  EXPECT_EQ(*narrow_scope(ObjectKind::notification, Rights{0}, 6, 2), 2u);
  EXPECT_EQ(*narrow_scope(ObjectKind::notification, Rights{0}, 6, 0), 6u);
  EXPECT_EQ(narrow_scope(ObjectKind::notification, Rights{0}, 6, 3).status(), Status::out_of_range);
}
TEST(Scope, OtherKindsHaveNone) {
  for (ObjectKind kind : {ObjectKind::process, ObjectKind::thread, ObjectKind::group, ObjectKind::timer}) {
    EXPECT_EQ(*narrow_scope(kind, all_rights(kind), 0, 0), 0u);
    EXPECT_EQ(narrow_scope(kind, all_rights(kind), 0, 1).status(), Status::invalid_argument);
  }
}

TEST_F(CapTest, ScopedNotificationSignalsOnlyItsBits) {
  CapIndex held = notification(a);
  CapIndex two = derive(a, held, kAll, 2).cap();
  EXPECT_TRUE(k.call(a, Call::notification_signal, two, {2}).ok());
  EXPECT_TRUE(k.call(a, Call::notification_signal, two, {3}).is(Status::missing_right));
  CapIndex group = k.give(a, k.root());
  EXPECT_TRUE(k.call(a, Call::timer_create, group, {two.value, 3}).is(Status::missing_right));
  CapIndex process = k.give(a, *b.process);
  EXPECT_TRUE(k.call(a, Call::process_watch, process, {two.value, 1}).is(Status::missing_right));
  EXPECT_TRUE(k.call(a, Call::process_watch, process, {two.value, 2}).ok());
  CapIndex control = k.give(a, k.machine().interrupt_control());
  CapIndex line = k.call(a, Call::interrupt_create, control, {group.value, 3, 0}).cap();
  EXPECT_TRUE(k.call(a, Call::interrupt_bind, line, {two.value, 1}).is(Status::missing_right));
}

TEST_F(CapTest, ScopedMemoryMapsOnlyItsPages) {
  CapIndex group = k.give(a, k.root());
  CapIndex space = k.give(a, *a.process->space());
  CapIndex memory = k.call(a, Call::memory_create, group, {10, 0}).cap();
  CapIndex part = derive(a, memory, kAll, range(4, 3)).cap();
  EXPECT_EQ(k.call(a, Call::memory_info, part).word[0], 3u);
  EXPECT_TRUE(k.call(a, Call::space_map, space, {part.value, 0, 3, 3}).ok());
  EXPECT_TRUE(k.call(a, Call::space_map, space, {part.value, 0, 4, 3}).is(Status::out_of_range));
  EXPECT_TRUE(k.call(a, Call::space_map, space, {part.value, 3, 1, 3}).is(Status::out_of_range));
  EXPECT_TRUE(k.call(a, Call::space_map, space, {part.value, ~u64{0}, 2, 3}).is(Status::out_of_range));
  CapIndex beyond = derive(a, memory, kAll, range(8, 30)).cap();
  EXPECT_TRUE(k.call(a, Call::space_map, space, {beyond.value, 0, 3, 3}).is(Status::out_of_range));
  EXPECT_TRUE(k.call(a, Call::space_map, space, {beyond.value, 0, 2, 3}).ok());
}

// --- Trees

TEST_F(CapTest, GrandparentRevokesWhatADeletedCapabilityLeftBehind) {
  CapIndex top = notification(a);
  CapIndex middle = k.copy(a, top, b, kAll);
  CapIndex bottom = derive(b, middle).cap();
  EXPECT_TRUE(k.call(b, Call::cap_delete, middle).ok());
  EXPECT_TRUE(live(b, bottom));
  EXPECT_EQ(k.call(b, Call::cap_info, bottom).word[3], 2u);
  EXPECT_TRUE(k.call(a, Call::cap_revoke, top).ok());
  EXPECT_FALSE(live(b, bottom));
}

TEST_F(CapTest, TombstonesVanishWithTheirLastChild) {
  CapIndex top = notification(a);
  const u64 bytes = k.baseline().kernel + k.machine().root_group().usage(Resource::kernel_bytes);
  std::vector<CapIndex> chain{top};
  for (u32 i = 0; i < 20; ++i) chain.push_back(derive(a, chain.back()).cap());
  for (u32 i = 1; i < 20; ++i) EXPECT_TRUE(k.call(a, Call::cap_delete, chain[i]).ok());
  EXPECT_TRUE(live(a, chain[20]));
  EXPECT_TRUE(k.call(a, Call::cap_delete, chain[20]).ok());
  EXPECT_EQ(k.baseline().kernel + k.machine().root_group().usage(Resource::kernel_bytes), bytes);
}

TEST_F(CapTest, ProcesssDeathLeavesWhatItDerived) {
  CapIndex top = notification(a);
  CapIndex middle = k.copy(a, top, b, kAll);
  Thread& c = k.make_thread();
  CapIndex bottom = k.copy(b, middle, c, kAll);
  b.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_TRUE(live(c, bottom));
  CapIndex watched = k.give(a, *c.process);
  EXPECT_EQ(k.call(a, Call::process_capability, watched, {0}).word[6], a.process->id());  // nearest living ancestor
  EXPECT_TRUE(k.call(a, Call::cap_revoke, top).ok());
  EXPECT_FALSE(live(c, bottom));
}

TEST_F(CapTest, ThirtyTwoGenerationsAreTheMost) {
  CapIndex last = notification(a);
  for (u32 i = 0; i < CapNode::kMaxDepth; ++i) {
    auto r = derive(a, last);
    ASSERT_TRUE(r.ok()) << i;
    last = r.cap();
  }
  EXPECT_TRUE(derive(a, last).is(Status::too_deep));
  EXPECT_EQ(k.call(a, Call::cap_info, last).word[3], 32u);
}

// A tree of n capabilities below `top`, in both processes.
class RevokeTest : public CapTest {
 protected:
  void grow(u32 count, bool deep) {
    Random random(test_seed());
    std::vector<std::pair<Thread*, CapIndex>> nodes{{&a, top}};
    for (u32 i = 0; i < count; ++i) {
      auto [holder, parent] = deep && i % 30 != 0 ? nodes.back() : nodes[deep ? 0 : random.below(nodes.size())];
      Thread& to = random.below(2) == 0 ? a : b;
      CapSlot* slot = MUST(holder->process->caps.find(parent));
      auto made = to.process->caps.insert_child(k.cpu(), *slot, CapSlot::rights(slot->load()), 0);
      if (made.has_value()) nodes.push_back({&to, *made});
    }
    nodes.erase(nodes.begin());
    below = nodes;
  }
  void expect_all_gone() {
    for (auto& [t, index] : below) EXPECT_FALSE(live(*t, index));
  }
  CapIndex top = notification(a);
  std::vector<std::pair<Thread*, CapIndex>> below;
};

TEST_F(RevokeTest, TakesWideAndDeepTrees) {
  for (bool deep : {false, true}) {
    grow(1000, deep);
    EXPECT_GT(below.size(), 900u);
    EXPECT_TRUE(k.call(a, Call::cap_revoke, top).ok());
    expect_all_gone();
    EXPECT_TRUE(live(a, top));
    EXPECT_TRUE(derive(a, top).ok());
  }
}

TEST_F(RevokeTest, IsPreemptedAndMeanwhileNothingIsDerived) {
  grow(200, false);
  CapIndex survivor = below[0].second;
  Thread& holder = *below[0].first;
  u32 entries = 1;
  ASSERT_FALSE(k.call_once(a, Call::cap_revoke, top));
  // Another thread tries to derive from the top and from below while the revocation is half way.
  EXPECT_TRUE(derive(a, top).ok() == false);
  Thread& second = k.make_thread(*a.process);
  EXPECT_TRUE(k.call(second, Call::cap_derive, top, {0}).is(Status::revoked));
  if (live(holder, survivor)) {
    Thread& other = k.make_thread(*holder.process);
    EXPECT_TRUE(k.call(other, Call::cap_derive, survivor, {0}).is(Status::revoked));
  }
  while (!k.call_once(a, Call::cap_revoke, top)) ++entries;
  EXPECT_GT(entries, 3u);
  expect_all_gone();
  EXPECT_TRUE(k.call(second, Call::cap_derive, top, {0}).ok());
}

TEST_F(RevokeTest, TwoRevokersOfTheSameRootBothFinish) {
  grow(300, false);
  Thread& second = k.make_thread(*a.process);
  ASSERT_FALSE(k.call_once(a, Call::cap_revoke, top));
  EXPECT_TRUE(k.call(second, Call::cap_revoke, top).ok());
  EXPECT_TRUE(k.result(a).ok());
  expect_all_gone();
  EXPECT_TRUE(derive(a, top).ok());
}

TEST_F(RevokeTest, RevokerAboveTakesAHalfDoneRevokerBelow) {
  CapIndex lower = k.copy(a, top, b, kAll);
  for (u32 i = 0; i < 200; ++i) EXPECT_TRUE(derive(b, lower).ok());
  ASSERT_FALSE(k.call_once(b, Call::cap_revoke, lower));
  EXPECT_TRUE(k.call(a, Call::cap_revoke, top).ok());
  EXPECT_EQ(b.process->caps.used(), 0u);
  EXPECT_TRUE(k.result(b).is(Status::bad_capability));
  EXPECT_TRUE(derive(a, top).ok());
}

TEST_F(RevokeTest, ProcessThatDiesInMidRevokeFinishesIt) {
  grow(400, false);
  Thread& third = k.make_thread();
  CapIndex kept = k.copy(a, top, third, kAll);
  ASSERT_FALSE(k.call_once(a, Call::cap_revoke, top));
  a.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_FALSE(live(third, kept));
  EXPECT_EQ(b.process->caps.used(), 0u);
}

TEST_F(RevokeTest, DeleteAndMoveInMidRevokeFinishItFirst) {
  Thread& second = k.make_thread(*a.process);
  grow(300, false);
  ASSERT_FALSE(k.call_once(a, Call::cap_revoke, top));
  CapIndex moved = k.call(second, Call::cap_move, top).cap();
  expect_all_gone();
  EXPECT_TRUE(live(a, moved));
  EXPECT_TRUE(k.result(a).is(Status::bad_capability));
  top = moved;
  grow(300, false);
  ASSERT_FALSE(k.call_once(a, Call::cap_revoke, top));
  EXPECT_TRUE(k.call(second, Call::cap_delete, top).ok());
  expect_all_gone();
}

TEST_F(RevokeTest, ACapabilityInMidRevokeDoesNotTravel) {
  CapIndex port = k.give(b, *MUST(Port::create(k.cpu(), k.root(), 0)));
  CapIndex call = k.copy(b, port, a, rights::port::call);
  Thread& second = k.make_thread(*a.process);
  grow(300, false);
  EXPECT_TRUE(k.call(b, Call::receive, port).waits);
  ASSERT_FALSE(k.call_once(a, Call::cap_revoke, top));
  k.page(second).capabilities[0] = top.value;
  EXPECT_TRUE(k.call(second, Call::call, call, {}, Descriptor::make(0, 1, 1)).is(Status::revoked));
  EXPECT_TRUE(k.call(second, Call::call, call, {}, Descriptor::make(0, 1, 0)).is(Status::revoked));
  EXPECT_TRUE(k.result(a).ok());
  expect_all_gone();
}

TEST_F(CapTest, RevokeUnmapsInEveryProcess) {
  CapIndex group = k.give(a, k.root());
  CapIndex memory = k.call(a, Call::memory_create, group, {300, 1}).cap();
  CapIndex at_b = k.copy(a, memory, b, kAll);
  CapIndex spaces[2] = {k.give(a, *a.process->space()), k.give(b, *b.process->space())};
  const u64 own = b.process->space()->mapped_pages();
  auto mapped = k.call(b, Call::space_map, spaces[1], {at_b.value, 0, 300, 3 | 16});
  ASSERT_TRUE(mapped.ok());
  MUST(b.process->space()->populate(k.cpu(), VirtAddr(mapped.word[0]), 8 * kPageSize));
  auto kept = k.call(a, Call::space_map, spaces[0], {memory.value, 0, 300, 3});
  ASSERT_TRUE(kept.ok());
  // The children of `memory` are b's capability and a's own region, which goes, too: it was mapped through it.
  EXPECT_TRUE(k.call(a, Call::cap_revoke, memory).ok());
  EXPECT_FALSE(live(b, at_b));
  EXPECT_EQ(b.process->space()->mapped_pages(), own);
  EXPECT_FALSE(b.process->space()->lookup(k.cpu(), VirtAddr(mapped.word[0])).has_value());
  EXPECT_TRUE(k.call(a, Call::space_map, spaces[0], {memory.value, 0, 300, 3}).ok());
}

TEST_F(CapTest, AbandonedRevocationDoesNotHoldUpTheEndOfAMapper) {
  CapIndex group = k.give(a, k.root());
  CapIndex memory = k.call(a, Call::memory_create, group, {2000, 1}).cap();
  CapIndex at_b = k.copy(a, memory, b, kAll);
  CapIndex space = k.give(b, *b.process->space());
  auto mapped = k.call(b, Call::space_map, space, {at_b.value, 0, 2000, 3});
  for (u64 done = 0; done < 2000 * kPageSize;) {
    done += MUST(b.process->space()->populate(k.cpu(), VirtAddr(mapped.word[0] + done), 2000 * kPageSize - done)).bytes;
  }
  ASSERT_FALSE(k.call_once(a, Call::cap_revoke, memory));
  // The revoker never comes back, its process lives on: the mapper's end must not wait for it.
  b.process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_EQ(b.process->state(), ProcessState::dead);
  EXPECT_TRUE(k.result(a).ok());
}

TEST_F(CapTest, RevokedMemoryStaysPinnedForItsDevice) {
  CapIndex group = k.give(a, k.root());
  CapIndex control = k.give(a, k.machine().kernel_control());
  CapIndex memory = k.call(a, Call::memory_create, group, {8, 0}).cap();
  CapIndex part = derive(a, memory).cap();
  CapIndex domain = k.call(a, Call::dma_create, control, {group.value}).cap();
  EXPECT_TRUE(k.call(a, Call::dma_map, domain, {part.value, 2, 6}).ok());
  const u64 page = k.page(a).words[8];
  EXPECT_TRUE(k.call(a, Call::dma_map, domain, {part.value, 2, 7}).is(Status::out_of_range));
  EXPECT_TRUE(k.call(a, Call::dma_map, domain, {part.value, 2, 0}).is(Status::invalid_argument));
  EXPECT_TRUE(k.call(a, Call::cap_revoke, memory).ok());
  EXPECT_TRUE(k.call(a, Call::cap_delete, memory).ok());
  k.settle();
  auto frame = MUST(k.machine().frames.allocate(k.cpu(), k.root(), 0));
  EXPECT_NE(k.machine().frames.address(frame).value, page);
  k.machine().frames.free(k.cpu(), k.root(), frame);
  EXPECT_TRUE(k.call(a, Call::dma_release, domain).ok());
}

TEST_F(CapTest, ProcessCapabilityListsEverything) {
  CapIndex watched = k.give(a, *b.process);
  for (u32 i = 0; i < 300; ++i) notification(b);
  u64 cursor = 0;
  u32 count = 0;
  for (;; ++count) {
    auto r = k.call(a, Call::process_capability, watched, {cursor});
    if (!r.ok()) {
      EXPECT_TRUE(r.is(Status::not_found));
      break;
    }
    EXPECT_EQ(r.word[2] & 0xff, u64(ObjectKind::notification));
    cursor = r.word[0];
  }
  EXPECT_EQ(count, 300u);
}

TEST_F(CapTest, ProcessCapabilityOfAProcessThatIsGoingFindsNothing) {
  CapIndex watched = k.give(a, *b.process);
  auto big = MUST(MemoryObject::create_anonymous(k.cpu(), k.root(), 3000));
  VirtAddr at = MUST(b.process->space()->map(
      k.cpu(), {.memory = *big, .pages = 3000, .prot = Protection::read_write, .max = Protection::read_write}));
  for (u64 done = 0; done < 3000 * kPageSize;) {
    done += MUST(b.process->space()->populate(k.cpu(), at + done, 3000 * kPageSize - done)).bytes;
  }
  notification(b);
  b.process->kill(k.cpu(), 0);
  for (u32 i = 0; b.process->state() != ProcessState::dead; ++i) {  // at every step of its end
    ASSERT_LT(i, 10'000u);
    EXPECT_TRUE(k.call(a, Call::process_capability, watched, {0}).is(Status::not_found));
  }
}

}  // namespace
}  // namespace keel::testing
