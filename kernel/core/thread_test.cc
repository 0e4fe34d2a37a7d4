#include "kernel/core/thread.h"

#include <gtest/gtest.h>

#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

class CoreTest : public ::testing::Test {
 protected:
  CoreTest() : before(k.baseline()) {}
  ~CoreTest() override {
    k.check();
    k.tear_down();
    EXPECT_EQ(k.baseline(), before);
  }
  Thread* next() { return enter_self_interrupt(k.cpu()); }

  TestKernel k;
  TestMachine::Baseline before;
};

// --- Scheduling

TEST_F(CoreTest, HigherLevelsRunFirst) {
  Thread& low = k.make_thread(5);
  Thread& high = k.make_thread(40);
  Thread& middle = k.make_thread(20);
  EXPECT_EQ(next(), &high);
  EXPECT_TRUE(k.call(high, Call::word_wait, {}, {0, 0, 0}).is(Status::bad_address));
  EXPECT_EQ(next(), &high);
  EXPECT_TRUE(k.call(high, Call::thread_exit).dead);
  EXPECT_EQ(k.cpu().current, &middle);
  EXPECT_TRUE(k.call(middle, Call::thread_exit).dead);
  EXPECT_EQ(k.cpu().current, &low);
}

TEST_F(CoreTest, EqualLevelsTakeTurnsOfAQuantum) {
  Thread* t[3] = {&k.make_thread(), &k.make_thread(), &k.make_thread()};
  EXPECT_EQ(next(), t[0]);
  for (u32 i = 1; i < 7; ++i) {
    k.advance(Scheduler::kQuantumNs - 1);
    EXPECT_EQ(k.cpu().current, t[(i - 1) % 3]);
    k.advance(1);
    EXPECT_EQ(k.cpu().current, t[i % 3]);
  }
}

TEST_F(CoreTest, YieldGivesTheCpuToTheNextOfTheLevelOnly) {
  Thread& a = k.make_thread();
  k.make_thread(kLowLevel);
  EXPECT_EQ(next(), &a);
  EXPECT_TRUE(k.call(a, Call::yield).ok());
  EXPECT_EQ(k.cpu().current, &a);
  Thread& b = k.make_thread();
  EXPECT_TRUE(k.call(a, Call::yield).ok());
  EXPECT_EQ(k.cpu().current, &b);
  EXPECT_TRUE(k.call(b, Call::yield).ok());
  EXPECT_EQ(k.cpu().current, &a);
}

TEST_F(CoreTest, AThreadThatWakesPreemptsALowerOne) {
  Thread& high = k.make_thread(30);
  Thread& low = k.make_thread(10);
  CapIndex n = k.give(high, *MUST(Notification::create(k.cpu(), k.root())));
  EXPECT_TRUE(k.call(high, Call::notification_wait, n, {~u64{0}}).waits);
  EXPECT_EQ(k.cpu().current, &low);
  k.object<Notification>(high, n).signal(k.cpu(), 1);
  EXPECT_EQ(next(), &high);
}

TEST_F(CoreTest, ChangedLevelsTakeEffectAtOnce) {
  Thread& a = k.make_thread(20);
  Thread& b = k.make_thread(10);
  CapIndex to_a = k.give(a, a);
  CapIndex to_b = k.give(a, b);
  EXPECT_EQ(next(), &a);
  EXPECT_TRUE(k.call(a, Call::thread_set_level, to_b, {30}).ok());
  EXPECT_EQ(k.cpu().current, &b);
  b.set_level(k.cpu(), 15);
  EXPECT_EQ(next(), &a);
  EXPECT_TRUE(k.call(a, Call::thread_set_level, to_a, {14}).ok());
  EXPECT_EQ(k.cpu().current, &b);
  EXPECT_TRUE(k.call(a, Call::thread_set_level, to_a, {15}).ok());  // beside b: it gets its turn, and the timer is set
  k.advance(3 * Scheduler::kQuantumNs);
  EXPECT_TRUE(k.call(a, Call::thread_set_level, to_a, {64}).is(Status::invalid_argument));
  a.process->top_level = 20;
  EXPECT_TRUE(k.call(a, Call::thread_set_level, to_a, {21}).is(Status::invalid_argument));
}

// --- Threads

TEST_F(CoreTest, CreatesStartsAndEndsThreads) {
  Thread& a = k.make_thread();
  CapIndex self = k.give(a, *a.process);
  EXPECT_TRUE(k.call(a, Call::thread_create, self, {64}).is(Status::invalid_argument));
  auto made = k.call(a, Call::thread_create, self, {16});
  ASSERT_TRUE(made.ok());
  Thread& t = k.adopt(a, made.cap());
  EXPECT_EQ(t.status(), ThreadStatus::fresh);
  EXPECT_EQ(k.call(a, Call::thread_info, made.cap()).word[1], 0u);
  EXPECT_TRUE(k.call(a, Call::thread_resume, made.cap()).is(Status::bad_state));
  EXPECT_TRUE(k.call(a, Call::thread_start, made.cap(), {u64{1} << 47, 0, 0, 0}).is(Status::bad_address));
  EXPECT_TRUE(k.call(a, Call::thread_start, made.cap(), {0x1000, ~u64{0}, 0, 0}).is(Status::bad_address));
  EXPECT_TRUE(k.call(a, Call::thread_start, made.cap(), {0x1000, 0x2000, 7, 8}).ok());
  EXPECT_TRUE(k.call(a, Call::thread_start, made.cap(), {0x1000, 0x2000, 7, 8}).is(Status::bad_state));
  EXPECT_EQ(t.state.rdi, 7u);
  EXPECT_EQ(t.state.word[0], 8u);
  EXPECT_EQ(k.call(a, Call::thread_info, made.cap()).word[1], 1u);
  EXPECT_TRUE(k.call(t, Call::thread_exit).dead);
  EXPECT_EQ(k.call(a, Call::thread_info, made.cap()).word[1], 5u);
  EXPECT_TRUE(k.call(a, Call::thread_suspend, made.cap()).is(Status::bad_state));
  EXPECT_EQ(a.process->thread_count(), 1u);
}

TEST_F(CoreTest, TheLastThreadTakesItsProcessAlong) {
  Thread& a = k.make_thread();
  Thread& b = k.make_thread(*a.process);
  EXPECT_TRUE(k.call(a, Call::thread_exit).dead);
  EXPECT_TRUE(a.process->alive());
  EXPECT_TRUE(k.call(b, Call::thread_exit).dead);
  k.settle();
  EXPECT_EQ(a.process->state(), ProcessState::dead);
}

TEST_F(CoreTest, TheLastThreadMayGoWithItsLastReference) {
  // The running thread, its context and its process are freed before the kernel is left.
  for (u32 i = 0; i < 3; ++i) {
    auto process = MUST(Process::create(k.cpu(), k.root(), ProcessName{"short"}));
    Thread* t = nullptr;
    {
      auto thread = MUST(Thread::create(k.cpu(), *process, kNormalLevel));
      thread->start(k.cpu(), kCallSite, 0, 0, 0);
      t = thread.get();
    }
    process = nullptr;
    k.set_call(*t, u64(Call::thread_exit), 0, {});
    k.make_current(*t);
    EXPECT_EQ(enter_system_call(k.cpu()), nullptr);
    k.settle();
  }
  EXPECT_EQ(k.machine().process_count(), 0u);
}

TEST_F(CoreTest, AThreadThatNobodyCanStartGoesWithItsCapability) {
  Thread& a = k.make_thread();
  CapIndex group = k.give(a, k.root());
  const auto exact = k.baseline();
  auto process = k.call(a, Call::process_create, group, {'x'});
  auto thread = k.call(a, Call::thread_create, process.cap(), {16});
  ASSERT_TRUE(thread.ok());
  EXPECT_TRUE(k.call(a, Call::cap_delete, thread.cap()).ok());
  EXPECT_EQ(k.call(a, Call::process_info, process.cap()).word[2], 0u);
  EXPECT_TRUE(k.call(a, Call::thread_create, process.cap(), {16}).ok());  // the process is not harmed
  EXPECT_TRUE(k.call(a, Call::cap_delete, process.cap(0)).ok());
  EXPECT_TRUE(k.call(a, Call::cap_delete, process.cap(1)).ok());
  for (u32 i = 0; i < 16; ++i) {  // the second thread's
    u32 cursor = 0;
    for (CapSlot* s = nullptr; (s = a.process->caps.next(&cursor)) != nullptr; ++cursor) {
      if (CapSlot::kind(s->load()) == ObjectKind::thread) (void)a.process->caps.remove(k.cpu(), s->index());
    }
  }
  k.settle();
  EXPECT_EQ(k.machine().process_count(), 1u);
  (void)exact;
}

TEST_F(CoreTest, RefusedThreadDoesNotHarmItsProcess) {
  Thread& a = k.make_thread();
  CapIndex group = k.give(a, k.root());
  auto process = k.call(a, Call::process_create, group, {'x'});
  a.process->caps.set_limit(a.process->caps.used());
  EXPECT_TRUE(k.call(a, Call::thread_create, process.cap(), {16}).is(Status::no_slot));
  k.settle();
  a.process->caps.set_limit(1000);
  EXPECT_TRUE(k.call(a, Call::thread_create, process.cap(), {16}).ok());
}

TEST_F(CoreTest, SuspendedThreadStopsInEveryState) {
  Thread& a = k.make_thread(20);
  Thread& b = k.make_thread();
  CapIndex to_b = k.give(a, b);
  CapIndex to_a = k.give(b, a);
  // ready
  EXPECT_TRUE(k.call(a, Call::thread_suspend, to_b).ok());
  EXPECT_EQ(k.call(a, Call::thread_info, to_b).word[1], 3u);
  EXPECT_TRUE(k.call(a, Call::thread_suspend, to_b).ok());
  EXPECT_TRUE(k.call(a, Call::thread_resume, to_b).ok());
  EXPECT_EQ(k.call(a, Call::thread_info, to_b).word[1], 1u);
  // running
  EXPECT_TRUE(k.call(b, Call::thread_suspend, k.give(b, b)).waits);
  EXPECT_TRUE(b.waits_for(WaitKind::stopped));
  EXPECT_TRUE(k.call(a, Call::thread_resume, to_b).ok());
  // waiting: what it waits for completes, it stays
  CapIndex n = k.give(b, *MUST(Notification::create(k.cpu(), k.root())));
  EXPECT_TRUE(k.call(b, Call::notification_wait, n, {~u64{0}}).waits);
  EXPECT_TRUE(k.call(a, Call::thread_suspend, to_b).ok());
  k.object<Notification>(b, n).signal(k.cpu(), 5);
  EXPECT_TRUE(b.waits_for(WaitKind::stopped));
  EXPECT_TRUE(k.call(a, Call::thread_resume, to_b).ok());
  EXPECT_EQ(k.result(b).word[0], 5u);
  (void)to_a;
}

TEST_F(CoreTest, CancelEndsTheWaitOrTheNextOne) {
  Thread& a = k.make_thread();
  Thread& b = k.make_thread();
  CapIndex to_b = k.give(a, b);
  CapIndex n = k.give(b, *MUST(Notification::create(k.cpu(), k.root())));
  CapIndex process = k.give(b, *a.process);
  CapIndex control = k.give(b, k.machine().kernel_control());
  CapIndex port = k.give(b, *MUST(Port::create(k.cpu(), k.root(), 0)));
  const u64 forever = ~u64{0};
  struct Wait {
    Call call;
    CapIndex cap;
    u64 word0;
    u64 word1;
  } waits[] = {{Call::notification_wait, n, forever, 0},
               {Call::process_wait, process, forever, 0},
               {Call::log_read, control, 1000, forever},
               {Call::receive, port, 0, 0},
               {Call::call, port, 0, 0}};
  for (const Wait& w : waits) {
    SCOPED_TRACE(u32(w.call));
    ASSERT_TRUE(k.call(b, w.call, w.cap, {w.word0, w.word1}).waits);
    EXPECT_TRUE(k.call(a, Call::thread_cancel, to_b).ok());
    EXPECT_TRUE(k.result(b).is(Status::cancelled));
    EXPECT_TRUE(k.call(a, Call::thread_cancel, to_b).ok());
    EXPECT_TRUE(k.call(b, w.call, w.cap, {w.word0, w.word1}).is(Status::cancelled));
    // Killed while it waits.
    Thread& c = k.make_thread(*b.process);
    ASSERT_TRUE(k.call(c, w.call, w.cap, {w.word0, w.word1}).waits);
    c.kill(k.cpu());
    k.check();
  }
}

TEST_F(CoreTest, RegistersOfAStoppedThreadAreReadAndSet) {
  Thread& a = k.make_thread();
  Thread& b = k.make_thread();
  CapIndex to_b = k.give(a, b);
  EXPECT_TRUE(k.call(a, Call::thread_registers, to_b).is(Status::bad_state));
  b.suspend(k.cpu());
  b.state.rbx = 77;
  ASSERT_TRUE(k.call(a, Call::thread_registers, to_b).ok());
  auto* r = reinterpret_cast<ThreadRegisters*>(&k.page(a));
  EXPECT_EQ(r->rbx, 77u);
  EXPECT_EQ(r->rip, kCallSite);
  r->r15 = 5, r->rsi = 6, r->rflags = ~u64{0};
  ASSERT_TRUE(k.call(a, Call::thread_set_registers, to_b).ok());
  EXPECT_EQ(b.state.word[7], 5u);
  EXPECT_EQ(b.state.word[0], 6u);
  EXPECT_EQ(b.state.rflags, 0xcd5u | arch::kUserFlags);
  for (u64* bad : {&r->rip, &r->rsp, &r->fs_base, &r->gs_base}) {
    const u64 good = *bad;
    *bad = 0x7fff'ffff'f000;
    EXPECT_TRUE(k.call(a, Call::thread_set_registers, to_b).is(Status::bad_address));
    *bad = u64{1} << 47;
    EXPECT_TRUE(k.call(a, Call::thread_set_registers, to_b).is(Status::bad_address));
    *bad = good;
  }
}

// --- Processes

TEST_F(CoreTest, WaitAndWatchSeeTheEnd) {
  Thread& a = k.make_thread();
  Thread& b = k.make_thread(*a.process);
  Thread& c = k.make_thread();
  CapIndex process = k.give(a, *c.process);
  CapIndex n = k.give(a, *MUST(Notification::create(k.cpu(), k.root())));
  EXPECT_TRUE(k.call(a, Call::process_watch, process, {n.value, 4}).ok());
  EXPECT_TRUE(k.call(a, Call::process_wait, process, {0}).is(Status::timed_out));
  EXPECT_TRUE(k.call(a, Call::process_wait, process, {k.now() + 100}).waits);
  k.advance(100);
  EXPECT_TRUE(k.result(a).is(Status::timed_out));
  EXPECT_TRUE(k.call(a, Call::process_wait, process, {~u64{0}}).waits);
  EXPECT_TRUE(k.call(b, Call::process_kill, process, {123}).ok());
  k.settle();
  EXPECT_EQ(k.result(a).word[0], 123u);
  EXPECT_EQ(k.call(a, Call::notification_wait, n, {0}).word[0], 4u);
  EXPECT_EQ(k.call(a, Call::process_wait, process, {0}).word[0], 123u);
  EXPECT_TRUE(k.call(a, Call::process_kill, process, {5}).ok());
  auto info = k.call(a, Call::process_info, process);
  EXPECT_EQ(info.word[1], 3u);
  EXPECT_EQ(info.word[6], 123u);
  EXPECT_EQ(info.word[5], 0u);
  EXPECT_TRUE(k.call(a, Call::process_watch, process, {n.value, 8}).ok());  // at once
  EXPECT_EQ(k.call(a, Call::notification_wait, n, {0}).word[0], 8u);
  EXPECT_TRUE(k.call(a, Call::thread_create, process, {1}).is(Status::bad_state));
}

TEST_F(CoreTest, EveryoneWhoWaitsForAProcessHearsOfItsEndInSteps) {
  Thread& a = k.make_thread();
  for (bool revoked : {false, true}) {
    Thread& dying = k.make_thread();
    CapIndex process = k.give(a, *dying.process);
    std::vector<Thread*> waiting;
    for (u32 i = 0; i < 40; ++i) {
      waiting.push_back(&k.make_thread(*a.process));
      EXPECT_TRUE(k.call(*waiting.back(), Call::process_wait, process, {~u64{0}}).waits);
    }
    if (revoked) {
      EXPECT_TRUE(k.call(a, Call::cap_delete, process).ok());
    } else {
      EXPECT_TRUE(k.call(a, Call::process_kill, process, {7}).ok());
    }
    k.settle();
    for (Thread* t : waiting) {
      auto r = k.result(*t);
      EXPECT_TRUE(revoked ? r.is(Status::revoked) : r.ok() && r.word[0] == 7);
    }
  }
}

TEST_F(CoreTest, ThreadsAreListedInSteps) {
  Thread& a = k.make_thread();
  Thread& b = k.make_thread();
  CapIndex control = k.give(a, k.machine().kernel_control());
  std::vector<Thread*> threads;
  for (u32 i = 0; i < 700; ++i) threads.push_back(&k.make_thread(*b.process));
  const u64 number = b.process->id();
  auto after = [&](u64 id) { return k.call(a, Call::thread_list, control, {number, id}); };
  EXPECT_FALSE(k.call_once(a, Call::thread_list, control, {number, threads[698]->id()}));
  EXPECT_EQ(k.result(a).word[0], threads[699]->id());
  EXPECT_TRUE(k.call_once(a, Call::thread_list, control, {number, threads[698]->id()}));  // it remembers the place
  EXPECT_TRUE(after(threads[699]->id()).is(Status::not_found));
  EXPECT_TRUE(threads[699]->kill(k.cpu()));  // which goes
  EXPECT_TRUE(after(threads[698]->id()).is(Status::not_found));
  u64 last = b.id();
  for (u32 i = 0; i < 699; ++i) {
    const u64 id = after(last).word[0];
    EXPECT_EQ(id, threads[i]->id());
    last = id;
  }
  EXPECT_EQ(after(0).word[0], b.id());
}

TEST_F(CoreTest, AProcessThatNeverRanTellsItsWatcher) {
  Thread& a = k.make_thread();
  CapIndex group = k.give(a, k.root());
  CapIndex n = k.give(a, *MUST(Notification::create(k.cpu(), k.root())));
  auto process = k.call(a, Call::process_create, group, {'x'});
  EXPECT_TRUE(k.call(a, Call::process_watch, process.cap(), {n.value, 4}).ok());
  EXPECT_TRUE(k.call(a, Call::cap_delete, process.cap()).ok());
  k.settle();
  EXPECT_EQ(k.call(a, Call::notification_wait, n, {0}).word[0], 4u);
}

TEST_F(CoreTest, WaiterIsToldWhenItsCapabilityGoes) {
  Thread& a = k.make_thread();
  Thread& b = k.make_thread(*a.process);
  Thread& c = k.make_thread();
  CapIndex own = k.give(c, *c.process);
  CapIndex derived = k.copy(c, own, a, rights::process::wait);
  EXPECT_TRUE(k.call(a, Call::process_wait, derived, {~u64{0}}).waits);
  EXPECT_TRUE(k.call(c, Call::cap_revoke, own).ok());
  EXPECT_TRUE(k.result(a).is(Status::revoked));
  (void)b;
}

TEST_F(CoreTest, ProcessListWalksAllAndEnds) {
  Thread& a = k.make_thread();
  k.make_process();
  k.make_process();
  CapIndex control = k.give(a, k.machine().kernel_control());
  u64 after = 0;
  u32 count = 0;
  for (;; ++count) {
    auto r = k.call(a, Call::process_list, control, {after});
    if (!r.ok()) break;
    EXPECT_GT(r.word[0], after);
    after = r.word[0];
  }
  EXPECT_EQ(count, 3u);
  EXPECT_TRUE(k.call(a, Call::process_list, control, {~u64{0}}).is(Status::not_found));
}

TEST_F(CoreTest, ChildrenCannotRunAboveTheirMaker) {
  Thread& a = k.make_thread();
  a.process->top_level = 20;
  CapIndex group = k.give(a, k.root());
  auto process = k.call(a, Call::process_create, group, {'x'});
  EXPECT_TRUE(k.call(a, Call::thread_create, process.cap(), {21}).is(Status::invalid_argument));
  EXPECT_TRUE(k.call(a, Call::process_set_limits, process.cap(), {21, 100}).is(Status::invalid_argument));
  EXPECT_TRUE(k.call(a, Call::thread_create, process.cap(), {20}).ok());
}

TEST_F(CoreTest, AManyThreadedProcessGivesEverythingBack) {
  Thread& a = k.make_thread();
  const auto exact = k.baseline();
  {
    auto process = MUST(Process::create(k.cpu(), k.root(), ProcessName{"many"}));
    auto port = MUST(Port::create(k.cpu(), k.root(), 4));
    CapIndex index = k.give(*process, *port);
    for (u32 i = 0; i < 100; ++i) {
      auto t = MUST(Thread::create(k.cpu(), *process, kNormalLevel));
      t->start(k.cpu(), kCallSite, 0, 0, 0);
      k.give(*process, *t);
      if (i % 2 == 0) (void)k.call(*t, i % 4 == 0 ? Call::call : Call::receive, index);
    }
    process->kill(k.cpu(), 0);
  }
  k.settle();
  EXPECT_EQ(k.machine().process_count(), 1u);
  (void)exact;
  (void)a;
}

// --- Words

class WordTest : public CoreTest {
 protected:
  WordTest() {
    auto memory = MUST(MemoryObject::create_anonymous(k.cpu(), k.root(), 2));
    for (Thread* t : {&a, &b}) {
      at[t == &b] =
          MUST(t->process->space()->map(
                   k.cpu(),
                   {.memory = *memory, .pages = 2, .prot = Protection::read_write, .max = Protection::read_write}))
              .value;
    }
    MUST(a.process->space()->populate(k.cpu(), VirtAddr(at[0]), kPageSize));
    word = static_cast<u32*>(phys_to_virt(MUST(memory->page(k.cpu(), 0, Access::write))));
  }
  Thread& a = k.make_thread();
  Thread& b = k.make_thread();
  u64 at[2];
  u32* word;
};

TEST_F(WordTest, IsTheSameWordInTwoProcesses) {
  ASSERT_NE(at[0], at[1]);
  EXPECT_TRUE(k.call(a, Call::word_wait, {}, {at[0] + 8, 0, ~u64{0}}).waits);
  EXPECT_EQ(k.call(b, Call::word_wake, {}, {at[1] + 12, 9}).word[0], 0u);  // another word
  EXPECT_EQ(k.call(b, Call::word_wake, {}, {at[1] + 8, 0}).word[0], 0u);
  EXPECT_EQ(k.call(b, Call::word_wake, {}, {at[1] + 8, 9}).word[0], 1u);
  EXPECT_TRUE(k.result(a).ok());
}
TEST_F(WordTest, AChangedWordIsNotWaitedOn) {
  // The waker stores, then wakes: whoever looks after the store does not wait, whoever waits before it is woken.
  word[2] = 1;
  EXPECT_TRUE(k.call(a, Call::word_wait, {}, {at[0] + 8, 0, ~u64{0}}).is(Status::would_block));
  EXPECT_TRUE(k.call(a, Call::word_wait, {}, {at[0] + 8, 1, 0}).is(Status::timed_out));
  EXPECT_TRUE(k.call(a, Call::word_wait, {}, {at[0] + 8, 1, k.now() + 10}).waits);
  k.advance(10);
  EXPECT_TRUE(k.result(a).is(Status::timed_out));
}
TEST_F(WordTest, ErrorsNameTheReason) {
  EXPECT_TRUE(k.call(a, Call::word_wait, {}, {at[0] + 2, 0, 0}).is(Status::misaligned));
  EXPECT_TRUE(k.call(a, Call::word_wait, {}, {0x1000, 0, 0}).is(Status::bad_address));
  EXPECT_TRUE(k.call(a, Call::word_wait, {}, {at[0] + kPageSize, 0, 0}).is(Status::touch_first));
  EXPECT_TRUE(k.call(a, Call::word_wake, {}, {at[0] + kPageSize, 1}).is(Status::touch_first));
  EXPECT_TRUE(k.call(a, Call::word_wake, {}, {~u64{0} - 3, 1}).is(Status::bad_address));
}
TEST_F(WordTest, WakesInOrderAndAtMost) {
  Thread* t[5];
  for (auto& thread : t) {
    thread = &k.make_thread(*a.process);
    EXPECT_TRUE(k.call(*thread, Call::word_wait, {}, {at[0], 0, ~u64{0}}).waits);
  }
  EXPECT_EQ(k.call(b, Call::word_wake, {}, {at[1], 2}).word[0], 2u);
  for (u32 i = 0; i < 5; ++i) EXPECT_EQ(k.result(*t[i]).waits, i >= 2);
  t[2]->process->kill(k.cpu(), 0);
  k.settle();
  EXPECT_EQ(k.call(b, Call::word_wake, {}, {at[1], 100}).word[0], 0u);
}

// --- Random numbers

TEST(Chacha20, BlockFunctionOfRfc8439) {  // section 2.3.2
  std::array<u32, 8> key;
  for (u32 i = 0; i < 8; ++i) key[i] = 0x03020100 + i * 0x04040404;
  const ChachaBlock block = chacha20_block(key, 1, {0x09000000, 0x4a000000, 0x00000000});
  const ChachaBlock expected{0xe4e7f110, 0x15593bd1, 0x1fdd0f50, 0xc47120a3, 0xc7f4d1c7, 0x0368c033,
                             0x9aaa2204, 0x4e6cd4c3, 0x466482d2, 0x09aa9f07, 0x05d7c214, 0xa2028bd9,
                             0xd19c12b5, 0xb94e16de, 0xe883d0cb, 0x4e3c50a2};
  EXPECT_EQ(block, expected);
}

TEST_F(CoreTest, RandomNumbersDiffer) {
  Thread& a = k.make_thread();
  std::vector<u64> seen;
  for (u32 i = 0; i < 50; ++i) {
    auto r = k.call(a, Call::random_get, {}, {3});
    ASSERT_TRUE(r.ok());
    EXPECT_EQ(r.word[3], 0u);
    for (u32 w = 0; w < 3; ++w) seen.push_back(r.word[w]);
  }
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(std::unique(seen.begin(), seen.end()), seen.end());
  EXPECT_TRUE(k.call(a, Call::random_get, {}, {0}).is(Status::invalid_argument));
  EXPECT_TRUE(k.call(a, Call::random_get, {}, {5}).is(Status::invalid_argument));
}

// A thread that ran leaves its message page to the next one of its process; what never ran leaves nothing.
TEST(MessagePage, GoesToTheNextThread) {
  TestKernel k;
  const auto before = k.baseline();
  {
    Process& process = k.make_process();
    Thread& keeper = k.make_thread(process);
    Thread& first = k.make_thread(process);
    const u64 used = k.root().usage(Resource::frames);
    MessagePage* const page = first.message_page;
    const VirtAddr at = first.message_page_user;
    page->words[9] = 77;
    (void)k.call(first, Call::thread_exit);
    EXPECT_EQ(first.status(), ThreadStatus::dead);
    EXPECT_EQ(k.root().usage(Resource::frames), used);
    Thread& second = k.make_thread(process);
    EXPECT_EQ(second.message_page, page);
    EXPECT_EQ(second.message_page_user, at);
    EXPECT_NE(k.make_thread(process).message_page, page);
    (void)k.call(second, Call::thread_exit);
    (void)keeper.kill(k.cpu());
  }
  k.tear_down();
  EXPECT_EQ(k.baseline(), before);
}

}  // namespace
}  // namespace keel::testing
