// Notifications, timers, interrupts and the log, through their calls.
#include <algorithm>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

class ObjectTest : public ::testing::Test {
 protected:
  ObjectTest() : before(k.baseline()) {}
  ~ObjectTest() override {
    k.check();
    k.tear_down();
    EXPECT_EQ(k.baseline(), before);
  }
  CallResult poll() { return k.call(a, Call::notification_wait, bits, {0}); }

  static constexpr u64 kNever = ~u64{0};
  TestKernel k;
  TestMachine::Baseline before;
  Thread& a = k.make_thread();
  Thread& b = k.make_thread(*a.process);
  CapIndex group = k.give(a, k.root());
  CapIndex bits = k.call(a, Call::notification_create, group).cap();
};

TEST_F(ObjectTest, NotificationBitsStickAndAreTakenTogether) {
  EXPECT_TRUE(poll().is(Status::timed_out));
  EXPECT_TRUE(k.call(a, Call::notification_signal, bits, {1}).ok());
  EXPECT_TRUE(k.call(a, Call::notification_signal, bits, {4}).ok());
  EXPECT_TRUE(k.call(a, Call::notification_signal, bits, {0}).ok());
  EXPECT_EQ(poll().word[0], 5u);
  EXPECT_TRUE(poll().is(Status::timed_out));
}

TEST_F(ObjectTest, SignalWakesOneWaiterInOrder) {
  Thread& c = k.make_thread(*a.process);
  EXPECT_TRUE(k.call(a, Call::notification_wait, bits, {kNever}).waits);
  EXPECT_TRUE(k.call(b, Call::notification_wait, bits, {kNever}).waits);
  EXPECT_TRUE(k.call(c, Call::notification_signal, bits, {2}).ok());
  EXPECT_EQ(k.result(a).word[0], 2u);
  EXPECT_TRUE(k.result(b).waits);
  EXPECT_TRUE(k.call(c, Call::cap_delete, bits).ok());
  EXPECT_TRUE(k.result(b).is(Status::revoked));
}

TEST_F(ObjectTest, TimersGoOffOnceOrPeriodically) {
  CapIndex timer = k.call(a, Call::timer_create, group, {bits.value, 8}).cap();
  EXPECT_TRUE(k.call(a, Call::timer_set, timer, {k.now() + 1000, 0}).ok());
  k.advance(999);
  EXPECT_TRUE(poll().is(Status::timed_out));
  k.advance(1);
  EXPECT_EQ(poll().word[0], 8u);
  k.advance(10'000);
  EXPECT_TRUE(poll().is(Status::timed_out));
  EXPECT_TRUE(k.call(a, Call::timer_set, timer, {k.now() + 1000, 99'999}).is(Status::invalid_argument));
  EXPECT_TRUE(k.call(a, Call::timer_set, timer, {k.now() + 1000, 100'000}).ok());
  k.advance(1000);
  for (u32 i = 0; i < 5; ++i) {
    EXPECT_EQ(poll().word[0], 8u);
    EXPECT_TRUE(poll().is(Status::timed_out));
    k.advance(100'000);
  }
  EXPECT_TRUE(k.call(a, Call::timer_set, timer, {kNever, 0}).ok());
  (void)poll();
  k.advance(1'000'000);
  EXPECT_TRUE(poll().is(Status::timed_out));
}

TEST_F(ObjectTest, APeriodBeyondTimeItselfGoesOffOnce) {
  CapIndex timer = k.call(a, Call::timer_create, group, {bits.value, 8}).cap();
  for (u64 period : {~u64{0}, ~u64{0} - k.now(), u64{1} << 63}) {
    EXPECT_TRUE(k.call(a, Call::timer_set, timer, {1, period}).ok());  // the time is past
    k.advance(1'000'000);
    EXPECT_EQ(poll().word[0], 8u);
    k.advance(1'000'000'000);
    EXPECT_TRUE(poll().is(Status::timed_out));
  }
}

TEST_F(ObjectTest, MissedPeriodsAreNotMadeUpFor) {
  CapIndex timer = k.call(a, Call::timer_create, group, {bits.value, 8}).cap();
  EXPECT_TRUE(k.call(a, Call::timer_set, timer, {k.now() + 100'000, 100'000}).ok());
  k.cpu().arch.clock += 1'050'000;
  enter_timer(k.cpu());
  EXPECT_EQ(poll().word[0], 8u);
  k.advance(49'000);
  EXPECT_TRUE(poll().is(Status::timed_out));
  k.advance(1000);
  EXPECT_EQ(poll().word[0], 8u);
}

TEST_F(ObjectTest, ADeletedTimerIsSilent) {
  CapIndex timer = k.call(a, Call::timer_create, group, {bits.value, 8}).cap();
  EXPECT_TRUE(k.call(a, Call::timer_set, timer, {k.now() + 1000, 100'000}).ok());
  EXPECT_TRUE(k.call(a, Call::cap_delete, timer).ok());
  EXPECT_EQ(k.cpu().timers.earliest(), kForever);
}

TEST_F(ObjectTest, AStormIsHeldBackAndNothingIsLost) {
  CapIndex control = k.give(a, k.machine().interrupt_control());
  CapIndex kernel = k.give(a, k.machine().kernel_control());
  constexpr u64 kMessage = 2;
  for (const u64 kind : {u64{0}, u64{1}, kMessage}) {  // edge, level, message
    const CapIndex made = kind == kMessage ? k.call(a, Call::interrupt_create_message, control, {group.value}).cap()
                                           : k.call(a, Call::interrupt_create, control, {group.value, 5, kind}).cap();
    Interrupt& interrupt = k.object<Interrupt>(a, made);
    const auto unmasked = [&] { return (k.machine().cpus[0]->arch.unmasked_lines >> 5 & 1) != 0; };
    const auto fire = [&](u64 count, u64 gap_ns) {
      for (u64 i = 0; i < count; ++i) {
        k.advance(gap_ns);
        k.interrupt(interrupt.vector());
        EXPECT_TRUE(k.call(a, Call::interrupt_ack, made).ok());
      }
    };
    EXPECT_TRUE(k.call(a, Call::interrupt_bind, made, {bits.value, 2}).ok());
    fire(3 * Interrupt::kBurst, 2 * Interrupt::kBurstNs / Interrupt::kBurst);
    EXPECT_FALSE(interrupt.is_held_back());  // not so fast
    fire(2 * Interrupt::kBurst, 1);
    EXPECT_TRUE(interrupt.is_held_back());
    EXPECT_EQ(interrupt.count(), 5 * Interrupt::kBurst);
    EXPECT_TRUE(kind == kMessage || !unmasked());  // whoever acknowledges
    auto listed = k.call(a, Call::interrupt_list, kernel, {0});
    EXPECT_EQ(listed.word[4] & 2, 2u);
    EXPECT_EQ(listed.word[6], 1u);
    (void)poll();
    fire(3, 1);
    EXPECT_TRUE(poll().is(Status::timed_out));
    k.advance(Interrupt::kPauseNs);
    EXPECT_FALSE(interrupt.is_held_back());
    EXPECT_EQ(poll().word[0], 2u);
    EXPECT_EQ(unmasked(), kind == 0);
    EXPECT_TRUE(k.call(a, Call::interrupt_ack, made).ok());
    EXPECT_EQ(unmasked(), kind != kMessage);
    fire(1, 1);
    EXPECT_EQ(poll().word[0], 2u);
    // It may go while it is held back.
    fire(2 * Interrupt::kBurst, 1);
    EXPECT_TRUE(interrupt.is_held_back());
    EXPECT_TRUE(k.call(a, Call::cap_delete, made).ok());
    k.settle();
    (void)poll();
    EXPECT_FALSE(unmasked());
    k.advance(Interrupt::kPauseNs);
    EXPECT_TRUE(poll().is(Status::timed_out));
  }
}

TEST_F(ObjectTest, InterruptsSignalTheirNotification) {
  CapIndex control = k.give(a, k.machine().interrupt_control());
  EXPECT_TRUE(k.call(a, Call::interrupt_create, control, {group.value, 24, 0}).is(Status::not_supported));
  auto made = k.call(a, Call::interrupt_create, control, {group.value, 5, 1});
  ASSERT_TRUE(made.ok());
  EXPECT_TRUE(k.call(a, Call::interrupt_create, control, {group.value, 5, 0}).is(Status::busy));
  const u32 vector = k.object<Interrupt>(a, made.cap()).vector();
  k.interrupt(vector);  // bound to nothing
  EXPECT_TRUE(k.call(a, Call::interrupt_bind, made.cap(), {bits.value, 2}).ok());
  k.interrupt(vector);
  EXPECT_EQ(poll().word[0], 2u);
  EXPECT_TRUE(k.call(a, Call::interrupt_ack, made.cap()).ok());
  CapIndex kernel = k.give(a, k.machine().kernel_control());
  EXPECT_EQ(k.call(a, Call::interrupt_list, kernel, {0}).word[3], 2u);
  EXPECT_TRUE(k.call(a, Call::interrupt_list, kernel, {1}).is(Status::not_found));
  EXPECT_TRUE(k.call(a, Call::interrupt_list, kernel, {kNever}).is(Status::not_found));
  EXPECT_TRUE(k.call(a, Call::cap_delete, made.cap()).ok());
  k.interrupt(vector);
  k.settle();
  EXPECT_TRUE(k.call(a, Call::interrupt_create, control, {group.value, 5, 0}).ok());
  const u64 scope = 3 | u64{2} << 32;
  CapIndex narrow = k.call(a, Call::cap_derive, control, {all_rights(ObjectKind::interrupt_control), scope}).cap();
  EXPECT_TRUE(k.call(a, Call::interrupt_create, narrow, {group.value, 6, 0}).is(Status::out_of_range));
  EXPECT_TRUE(k.call(a, Call::interrupt_create, narrow, {group.value, 4, 0}).ok());
  EXPECT_TRUE(k.call(a, Call::interrupt_create_message, narrow, {group.value}).is(Status::missing_right));
  EXPECT_TRUE(k.call(a, Call::interrupt_create_message, control, {group.value}).ok());
}

TEST_F(ObjectTest, VectorsRunOutAndComeBack) {
  CapIndex control = k.give(a, k.machine().interrupt_control());
  std::vector<CapIndex> made;
  for (;;) {
    auto r = k.call(a, Call::interrupt_create_message, control, {group.value});
    if (!r.ok()) {
      EXPECT_TRUE(r.is(Status::busy));
      break;
    }
    made.push_back(r.cap());
  }
  EXPECT_EQ(made.size(), InterruptTable::kVectors);
  EXPECT_TRUE(k.call(a, Call::interrupt_create, control, {group.value, 2, 0}).is(Status::busy));
  EXPECT_TRUE(k.call(a, Call::cap_delete, made[7]).ok());
  k.settle();
  EXPECT_TRUE(k.call(a, Call::interrupt_create, control, {group.value, 2, 0}).ok());
}

TEST_F(ObjectTest, IoPortsStayInTheirRange) {
  CapIndex io = k.give(a, k.machine().io_ports());
  EXPECT_TRUE(k.call(a, Call::io_read, io, {0x80, 3}).is(Status::invalid_argument));
  EXPECT_TRUE(k.call(a, Call::io_read, io, {0xffff, 2}).is(Status::out_of_range));
  EXPECT_TRUE(k.call(a, Call::io_read, io, {0x10000, 1}).is(Status::out_of_range));
  EXPECT_TRUE(k.call(a, Call::io_read, io, {kNever, 1}).is(Status::out_of_range));
  EXPECT_EQ(k.call(a, Call::io_read, io, {0xffff, 1}).word[0], 0xffu);
  const u64 scope = 0x60 | u64{4} << 32;
  CapIndex narrow = k.call(a, Call::cap_derive, io, {all_rights(ObjectKind::io_ports), scope}).cap();
  EXPECT_TRUE(k.call(a, Call::io_write, narrow, {0x62, 2, 1}).ok());
  EXPECT_TRUE(k.call(a, Call::io_write, narrow, {0x63, 2, 1}).is(Status::out_of_range));
  EXPECT_TRUE(k.call(a, Call::io_write, narrow, {0x5f, 1, 1}).is(Status::out_of_range));
}

TEST_F(ObjectTest, LogRecordsSayWhetherTheKernelShowedThem) {
  CapIndex log = k.give(a, k.machine().kernel_control());
  const auto level_of = [&](LogLevel level) {
    EXPECT_TRUE(k.call(a, Call::log_write, log, {0, u64(level)}).ok());
    u64 last = 0;
    for (u64 at = 1; k.call(a, Call::log_read, log, {at, 0}).ok(); ++at) last = a.state.word[3];
    return last;
  };
  EXPECT_EQ(level_of(LogLevel::error), u64(LogLevel::error));
  EXPECT_TRUE(k.call(a, Call::kernel_console, log, {1}).ok());
  EXPECT_EQ(level_of(LogLevel::notice), u64(LogLevel::notice) | kLogShown);
  EXPECT_EQ(level_of(LogLevel::debug), u64(LogLevel::debug));
  EXPECT_TRUE(k.call(a, Call::kernel_console, log, {0}).ok());
  EXPECT_EQ(level_of(LogLevel::notice), u64(LogLevel::notice));
}

TEST_F(ObjectTest, LogIsReadInOrderAndWaitedFor) {
  CapIndex log = k.give(a, k.machine().kernel_control());
  std::memcpy(k.page(a).words, "hello\nworld", 11);
  EXPECT_TRUE(k.call(a, Call::log_write, log, {241, 2}).is(Status::too_big));
  EXPECT_TRUE(k.call(a, Call::log_write, log, {11, 5}).is(Status::invalid_argument));
  EXPECT_TRUE(k.call(a, Call::log_write, log, {11, u64(LogLevel::debug)}).ok());
  auto r = k.call(a, Call::log_read, log, {0, 0});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r.word[2], 11u);
  EXPECT_EQ(r.word[3], u64(LogLevel::debug));
  EXPECT_EQ(r.word[4], a.process->id());
  EXPECT_EQ(std::memcmp(k.page(a).words, "hello?world", 11), 0);  // a record is one line
  const u64 next = r.word[0] + 1;
  EXPECT_TRUE(k.call(a, Call::log_read, log, {next, 0}).is(Status::timed_out));
  EXPECT_TRUE(k.call(a, Call::log_read, log, {next, k.now() + 50}).waits);
  k.advance(50);
  EXPECT_TRUE(k.result(a).is(Status::timed_out));
  EXPECT_TRUE(k.call(a, Call::log_read, log, {next, kNever}).waits);
  EXPECT_TRUE(k.call(b, Call::log_write, log, {0, 1}).ok());
  auto woken = k.result(a);
  ASSERT_TRUE(woken.ok());
  EXPECT_EQ(woken.word[0], next);
  for (u32 i = 0; i < 300; ++i) EXPECT_TRUE(k.call(b, Call::log_write, log, {0, 3}).ok());
  EXPECT_EQ(k.call(a, Call::log_read, log, {0, 0}).word[0], next + 300 - Log::kRecords + 1);  // the oldest there is
  CapIndex derived = k.call(a, Call::cap_derive, log, {rights::kernel_control::log_read}).cap();
  EXPECT_TRUE(k.call(a, Call::log_read, derived, {kNever, kNever}).waits);
  EXPECT_TRUE(k.call(b, Call::cap_revoke, log).ok());
  EXPECT_TRUE(k.result(a).is(Status::revoked));
}

TEST_F(ObjectTest, AReaderOfAnEmptyLogWaits) {
  CapIndex log = k.give(a, k.machine().kernel_control());
  EXPECT_TRUE(k.call(a, Call::log_read, log, {0, k.now() + 50}).waits);
  k.advance(50);
  EXPECT_TRUE(k.result(a).is(Status::timed_out));
}

TEST_F(ObjectTest, EveryReaderOfTheLogIsWokenInSteps) {
  CapIndex log = k.give(a, k.machine().kernel_control());
  std::vector<Thread*> readers;
  for (u32 i = 0; i < 40; ++i) readers.push_back(&k.make_thread(*a.process));
  auto waiting = [&] { return std::count_if(readers.begin(), readers.end(), [](Thread* t) { return t->waits(); }); };
  for (u64 sequence = k.call(a, Call::log_read, log, {0, 0}).ok() ? 2 : 1; sequence < 5; ++sequence) {
    for (Thread* t : readers) EXPECT_TRUE(k.call(*t, Call::log_read, log, {sequence, kNever}).waits);
    EXPECT_TRUE(k.call(b, Call::log_read, log, {sequence + 10, kNever}).waits);
    log_text(k.cpu(), LogLevel::debug, "x");
    EXPECT_EQ(waiting(), 40 - i64(SharedQueue::kWakesPerStep));
    k.settle();  // ends: nobody who waits for a later record is woken again and again
    EXPECT_EQ(waiting(), 0);
    for (Thread* t : readers) EXPECT_EQ(k.result(*t).word[0], sequence);
    EXPECT_TRUE(k.call(a, Call::thread_cancel, k.give(a, b)).ok());
    EXPECT_TRUE(k.result(b).is(Status::cancelled));
  }
}

TEST_F(ObjectTest, EagerMemoryIsMadeInSteps) {
  const u64 charged = k.root().usage(Resource::frames);
  ASSERT_FALSE(k.call_once(a, Call::memory_create, group, {30, 1}));
  EXPECT_EQ(a.unfinished->committed_pages(), u64{MemoryObject::kZeroBatch});
  EXPECT_EQ(a.process->caps.used(), b.process->caps.used());
  auto made = k.result(a);
  ASSERT_TRUE(made.ok());
  EXPECT_FALSE(a.unfinished);
  EXPECT_EQ(k.call(a, Call::memory_info, made.cap()).word[1], 30u);
  EXPECT_TRUE(k.call(a, Call::cap_delete, made.cap()).ok());
  // Another call instead: it has nothing of the first.
  for (u64 flags : {0, 1, 3}) {
    ASSERT_FALSE(k.call_once(a, Call::memory_create, group, {30, 1}));
    made = k.call(a, Call::memory_create, group, {flags == 3 ? 30u : 10u, flags});
    EXPECT_EQ(k.call(a, Call::memory_info, made.cap()).word[2], u64(flags == 3));
    EXPECT_TRUE(k.call(a, Call::cap_delete, made.cap()).ok());
    k.settle();
    EXPECT_EQ(k.root().usage(Resource::frames), charged);
  }
  // A thread that dies in between gives everything back.
  ASSERT_FALSE(k.call_once(b, Call::memory_create, group, {30, 1}));
  EXPECT_TRUE(b.kill(k.cpu()));
  EXPECT_FALSE(b.unfinished);
}

TEST_F(ObjectTest, DmaPagesArePinnedInSteps) {
  CapIndex domain = k.call(a, Call::dma_create, k.give(a, k.machine().kernel_control()), {group.value}).cap();
  CapIndex memory = k.call(a, Call::memory_create, group, {300, 0}).cap();
  auto& object = k.object<MemoryObject>(a, memory);
  ASSERT_FALSE(k.call_once(a, Call::dma_map, domain, {memory.value, 100, 200}));
  EXPECT_EQ(object.pinned_pages(), u64{MemoryObject::kZeroBatch});
  // Two threads at once do not disturb each other.
  EXPECT_TRUE(k.call(b, Call::dma_map, domain, {memory.value, 100, 200}).ok());
  EXPECT_EQ(object.pinned_pages(), 200u + MemoryObject::kZeroBatch);
  EXPECT_TRUE(k.result(a).ok());
  EXPECT_EQ(object.pinned_pages(), 400u);
  for (u32 i = 0; i < 200; ++i) {
    const u64 page = MUST(object.existing_page(k.cpu(), 100 + i)).value;
    EXPECT_EQ(k.page(a).words[kRegisterWords + i], page);
    EXPECT_EQ(k.page(b).words[kRegisterWords + i], page);
  }
  // A call that is cut short leaves what it has pinned until the release.
  CapIndex derived = k.call(a, Call::cap_derive, memory, {all_rights(ObjectKind::memory)}).cap();
  ASSERT_FALSE(k.call_once(a, Call::dma_map, domain, {derived.value, 0, 90}));
  EXPECT_TRUE(k.call(b, Call::cap_delete, derived).ok());
  EXPECT_TRUE(k.result(a).is(Status::bad_capability));
  EXPECT_EQ(object.pinned_pages(), 400u + MemoryObject::kZeroBatch);
  EXPECT_TRUE(k.call(a, Call::dma_release, domain).ok());
  EXPECT_EQ(object.pinned_pages(), 0u);
  // And a domain that goes without a release keeps no records.
  ASSERT_FALSE(k.call_once(a, Call::dma_map, domain, {memory.value, 0, 90}));
  EXPECT_TRUE(k.call(a, Call::dma_release, domain).ok());
}

TEST_F(ObjectTest, MemoryLimitsAndSizes) {
  EXPECT_TRUE(k.call(a, Call::memory_create, group, {0, 0}).is(Status::invalid_argument));
  EXPECT_FALSE(k.call(a, Call::memory_create, group, {kNever, 0}).ok());
  EXPECT_FALSE(k.call(a, Call::memory_create, group, {u64{1} << 52, 0}).ok());
  EXPECT_FALSE(k.call(a, Call::memory_create, group, {1025, 2}).ok());
  auto memory = k.call(a, Call::memory_create, group, {16, 2});
  ASSERT_TRUE(memory.ok());
  EXPECT_EQ(k.call(a, Call::memory_info, memory.cap()).word[1], 16u);
}

}  // namespace
}  // namespace keel::testing
