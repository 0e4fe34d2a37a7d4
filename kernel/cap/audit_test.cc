#include "kernel/cap/audit_inline.h"

#include <cstring>
#include <thread>

#include "kernel/cap/two_processes_rig_test.h"

namespace keel::testing {
namespace {

class AuditTest : public TwoProcesses {
 protected:
  // What was recorded since the last look, read through the call.
  std::vector<AuditRecord> news() {
    auto r = k.call(b, Call::audit_read, control, {0, cursor});
    EXPECT_TRUE(r.ok());
    cursor = r.word[0];
    lost = r.word[2];
    std::vector<AuditRecord> records(r.word[1]);
    if (!records.empty()) std::memcpy(records.data(), k.page(b).words, records.size() * sizeof(AuditRecord));
    return records;
  }
  u64 id(Thread& t) { return t.process->id(); }
  u64 object_of(Thread& t, CapIndex index) { return MUST(t.process->caps.find(index))->object->id(); }

  CapIndex control = k.give(b, k.machine().kernel_control());
  CapIndex held = notification(a);
  CapIndex other = k.give(a, *b.process);
  u64 cursor = 0;
  u64 lost = 0;
};

TEST_F(AuditTest, DeriveGrantAndRevokeAreRecordedWithWhoAndWhat) {
  const Rights some = rights::inspect | rights::notification::signal;
  ASSERT_TRUE(k.call(a, Call::cap_derive, held, {some}).ok());
  ASSERT_TRUE(k.call(a, Call::cap_grant, other, {held.value, some}).ok());
  ASSERT_TRUE(k.call(a, Call::cap_revoke, held).ok());
  const auto records = news();
  ASSERT_EQ(records.size(), 3u);
  for (u32 i = 0; i < 3; ++i) {
    EXPECT_EQ(records[i].sequence, i + 1);
    EXPECT_EQ(records[i].process, id(a));
    EXPECT_EQ(records[i].object, object_of(a, held));
    EXPECT_EQ(records[i].kind, u8(ObjectKind::notification));
  }
  EXPECT_EQ(records[0].event, AuditEvent::derive);
  EXPECT_EQ(records[0].rights, some);
  EXPECT_EQ(records[1].event, AuditEvent::grant);
  EXPECT_EQ(records[1].other, id(b));
  EXPECT_EQ(records[2].event, AuditEvent::revoke);
  EXPECT_EQ(records[2].rights, all_rights(ObjectKind::notification));
}

TEST_F(AuditTest, MessagesThatCarryCapabilitiesAreRecordedOnBothPaths) {
  CapIndex port = k.give(a, *MUST(Port::create(k.cpu(), k.root(), 0)));
  CapIndex receive = k.copy(a, port, b, kAll);
  for (bool fast : {false, true}) {
    k.fast = fast;
    ASSERT_TRUE(k.call(b, Call::receive, receive).waits);
    k.page(a).capabilities[0] = held.value;
    k.page(a).capabilities[1] = notification(a).value;
    ASSERT_TRUE(k.call(a, Call::call, port, {}, Descriptor::make(0, 2, 2)).waits);
    const auto records = news();
    ASSERT_EQ(records.size(), 2u);
    for (const AuditRecord& r : records) {
      EXPECT_EQ(r.event, AuditEvent::transfer);
      EXPECT_EQ(r.process, id(a));
      EXPECT_EQ(r.other, id(b));
    }
    EXPECT_EQ(records[0].object, object_of(a, held));
    // And back with the reply.
    k.page(b).capabilities[0] = k.page(b).capabilities[1];
    k.fast = fast;
    ASSERT_TRUE(k.call(b, Call::reply_receive, receive, {}, Descriptor::make(0, 1, 1)).waits);
    b.cancel(k.cpu());
    k.fast = false;
    const auto back = news();
    ASSERT_EQ(back.size(), 1u);
    EXPECT_EQ(back[0].process, id(b));
    EXPECT_EQ(back[0].other, id(a));
  }
}

TEST_F(AuditTest, FastPathsRecordTheSame) {
  CapIndex port = k.give(a, *MUST(Port::create(k.cpu(), k.root(), 0)));
  CapIndex receive = k.copy(a, port, b, kAll);
  for (u32 moves : {0u, 1u}) {
    std::vector<AuditRecord> seen[2];
    for (bool fast : {false, true}) {
      k.fast = fast;
      const u64 object = object_of(a, held);
      ASSERT_TRUE(k.call(b, Call::receive, receive).waits);
      auto derived = k.call(a, Call::cap_derive, held, {all_rights(ObjectKind::notification)});
      ASSERT_TRUE(derived.ok());
      k.page(a).capabilities[0] = derived.cap().value;
      ASSERT_TRUE(k.call(a, Call::call, port, {}, Descriptor::make(0, 1, moves)).waits);
      ASSERT_TRUE(k.call(b, Call::reply_receive, receive).waits);
      b.cancel(k.cpu());
      k.fast = false;
      for (const AuditRecord& r : news()) {
        EXPECT_EQ(r.object, object);
        seen[fast].push_back(r);
      }
    }
    ASSERT_EQ(seen[0].size(), 2u);
    ASSERT_EQ(seen[1].size(), 2u);
    for (u32 i = 0; i < 2; ++i) {
      EXPECT_EQ(seen[0][i].event, i == 0 ? AuditEvent::derive : AuditEvent::transfer);
      EXPECT_EQ(seen[1][i].event, seen[0][i].event);
      EXPECT_EQ(seen[1][i].process, seen[0][i].process);
      EXPECT_EQ(seen[1][i].other, seen[0][i].other);
      EXPECT_EQ(seen[1][i].rights, seen[0][i].rights);
    }
  }
}

TEST_F(AuditTest, WhatIsRefusedIsRecordedWithItsReason) {
  const CapIndex weak = k.copy(a, held, a, rights::inspect);
  EXPECT_TRUE(k.call(a, Call::notification_signal, weak, {1}).is(Status::missing_right));
  EXPECT_TRUE(k.call(a, Call::port_bind, held).is(Status::wrong_kind));
  EXPECT_TRUE(k.call(a, Call::notification_signal, CapIndex(77), {1}).is(Status::bad_capability));
  auto records = news();
  ASSERT_EQ(records.size(), 3u);
  for (const AuditRecord& r : records) EXPECT_EQ(r.event, AuditEvent::denial);
  EXPECT_EQ(records[0].status, u8(Status::missing_right));
  EXPECT_EQ(records[0].call, u8(Call::notification_signal));
  EXPECT_EQ(records[0].rights, rights::inspect);
  EXPECT_EQ(records[0].other, weak.value);
  EXPECT_EQ(records[0].object, object_of(a, held));
  EXPECT_EQ(records[1].status, u8(Status::wrong_kind));
  EXPECT_EQ(records[2].status, u8(Status::bad_capability));
  EXPECT_EQ(records[2].object, 0u);
}

TEST_F(AuditTest, AnArgumentThatIsRefusedIsTheOneNamed) {
  CapIndex group = k.give(a, k.root());
  EXPECT_TRUE(k.call(a, Call::timer_create, group, {group.value, 1}).is(Status::wrong_kind));
  CapIndex weak = k.copy(a, held, a, rights::inspect);
  EXPECT_TRUE(k.call(a, Call::timer_create, group, {weak.value, 1}).is(Status::missing_right));
  const auto records = news();
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].other, group.value);
  EXPECT_EQ(records[1].other, weak.value);
  EXPECT_EQ(records[1].object, object_of(a, held));
}

TEST_F(AuditTest, WhoIsRefusedInALoopPushesNothingOut) {
  ASSERT_TRUE(k.call(a, Call::cap_derive, held, {0}).ok());
  for (u32 i = 0; i < 3 * AuditRing::kRecords; ++i) (void)k.call(a, Call::cap_derive, CapIndex(77), {0});
  auto records = news();
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].event, AuditEvent::derive);
  EXPECT_EQ(records[1].repeated, 3 * AuditRing::kRecords - 1);
  // Who reads on sees it go on.
  (void)k.call(a, Call::cap_derive, CapIndex(77), {0});
  EXPECT_EQ(news().size(), 1u);
}

TEST_F(AuditTest, WhatIsOverwrittenIsCounted) {
  constexpr u32 kMade = AuditRing::kRecords + 100;
  for (u32 i = 0; i < kMade; ++i) {
    auto made = k.call(a, Call::cap_derive, held, {0});
    ASSERT_TRUE(made.ok());
    ASSERT_TRUE(k.call(a, Call::cap_delete, made.cap()).ok());
  }
  u64 expected = kMade - AuditRing::kRecords + 1;
  u64 seen = 0;
  for (bool first = true;; first = false) {
    const auto records = news();
    EXPECT_EQ(lost, first ? kMade - AuditRing::kRecords : 0u);
    if (records.empty()) break;
    for (const AuditRecord& r : records) EXPECT_EQ(r.sequence, expected++);
    seen += records.size();
  }
  EXPECT_EQ(seen, AuditRing::kRecords);
}

TEST(AuditRing, IsReadWhileItIsWritten) {
  constexpr u64 kRecordsMade = 200'000;
  auto ring = std::make_unique<AuditRing>();
  const Clock clock;
  std::thread writer([&] {
    for (u64 n = 1; n <= kRecordsMade; ++n) ring->add({.process = n, .other = ~n, .object = n * 3});
  });
  std::vector<AuditRecord> part(80);
  u64 next = 1, seen = 0, lost = 0;
  while (next <= kRecordsMade) {
    const auto read = ring->read(clock, next, part);
    for (u64 i = 0; i < read.count; ++i) {
      const AuditRecord& r = part[i];
      ASSERT_GE(r.sequence, next);
      ASSERT_TRUE(r.process == r.sequence && r.other == ~r.sequence && r.object == r.sequence * 3);
    }
    ASSERT_EQ(read.next, next + read.count + read.lost);
    next = read.next;
    seen += read.count;
    lost += read.lost;
  }
  writer.join();
  EXPECT_EQ(seen + lost, kRecordsMade);
}

TEST_F(AuditTest, ReadingNeedsTheRightAndACpu) {
  CapIndex weak = k.copy(b, control, b, Rights(~rights::kernel_control::audit));
  EXPECT_TRUE(k.call(b, Call::audit_read, weak, {0, 0}).is(Status::missing_right));
  EXPECT_TRUE(k.call(b, Call::audit_read, control, {1, 0}).is(Status::out_of_range));
  EXPECT_TRUE(k.call(b, Call::audit_read, control, {~u64{0}, 0}).is(Status::out_of_range));
  auto beyond = k.call(b, Call::audit_read, control, {0, ~u64{0}});
  EXPECT_TRUE(beyond.ok());
  EXPECT_EQ(beyond.word[1], 0u);
}

}  // namespace
}  // namespace keel::testing
