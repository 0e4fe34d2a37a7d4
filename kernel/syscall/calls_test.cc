// Every call of the table: the rights it asks for, and what happens when memory runs out at any point of it.
#include <gtest/gtest.h>

#include "abi/fuzz_calls.h"
#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

// A thread with one capability of each kind.
class CallsTest : public ::testing::Test {
 protected:
  CallsTest() {
    Machine& m = k.machine();
    auto memory = MUST(MemoryObject::create_anonymous(k.cpu(), k.root(), 4));
    auto n = MUST(Notification::create(k.cpu(), k.root()));
    auto interrupt = MUST(Interrupt::create_line(k.cpu(), k.root(), 5, Trigger::level, Polarity::active_high));
    add(*t.process);
    add(t);
    add(*memory);
    add(*MUST(Port::create(k.cpu(), k.root(), 1)));
    add(*MUST(Reply::create(k.cpu(), k.root())));
    add(*n);
    add(*MUST(WaitSet::create(k.cpu(), k.root())));
    add(*MUST(Timer::create(k.cpu(), k.root(), {*n, nullptr, k.root(), 1})));
    add(*interrupt);
    add(m.interrupt_control());
    add(m.io_ports());
    add(*MUST(DmaDomain::create(k.cpu(), k.root())));
    add(k.root());
    add(*MUST(Reservation::create(k.cpu(), k.root())));
    add(m.kernel_control());
    add(m.sealer());
    add(*t.process->space());
  }
  template <class T>
  void add(T& object) {
    held[u32(object.kind())] = k.give(t, object);
  }
  CapIndex of(ObjectKind kind) { return held[u32(kind)]; }
  CapIndex weaker(ObjectKind kind, Rights missing) {
    CapSlot* slot = MUST(t.process->caps.find(of(kind)));
    return MUST(t.process->caps.insert_child(k.cpu(), *slot, Rights(all_rights(kind) & ~missing), 0));
  }
  // The call with every capability that it needs, and zeros.
  std::array<u64, 8> words(const FuzzCall& c) {
    std::array<u64, 8> w{};
    for (u32 i = 0; i < 8; ++i) {
      if (c.args[i] == FuzzArg::capability) w[i] = of(c.caps[i].kind).value;
    }
    return w;
  }
  CallResult run(const FuzzCall& c, CapIndex target, const std::array<u64, 8>& w, u64 descriptor = 0) {
    return k.call(t, Call(c.number), target, {w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]}, descriptor);
  }
  // Each right of the set by itself.
  template <class F>
  static void each_right(Rights rights, F f) {
    for (u32 bit = 0; bit < 16; ++bit) {
      if ((rights >> bit & 1) != 0) f(Rights(1u << bit));
    }
  }

  TestKernel k;
  Thread& t = k.make_thread();
  CapIndex held[32] = {};
};

TEST_F(CallsTest, EveryTargetIsCheckedForKindAndRights) {
  u32 checks = 0;
  for (const FuzzCall& c : kFuzzCalls) {
    if (c.target.kind == ObjectKind::none) continue;
    SCOPED_TRACE(c.name);
    const auto w = words(c);
    for (u64 bad : {u64{0}, u64{1}, u64{1} << 32 | 200 << 5, ~u64{0}}) {
      EXPECT_TRUE(run(c, CapIndex(bad), w).is(Status::bad_capability));
      ++checks;
    }
    for (u32 kind = 1; kind < 32; ++kind) {
      if (held[kind] == kNoCapability || kind == u32(c.target.kind)) continue;
      EXPECT_TRUE(run(c, held[kind], w).is(Status::wrong_kind)) << kind;
      ++checks;
    }
    each_right(c.target.rights, [&](Rights missing) {
      EXPECT_TRUE(run(c, weaker(c.target.kind, missing), w).is(Status::missing_right)) << missing;
      ++checks;
    });
  }
  EXPECT_GT(checks, 800u);
}

TEST_F(CallsTest, EveryCapabilityArgumentIsCheckedForKindAndRights) {
  for (const FuzzCall& c : kFuzzCalls) {
    for (u32 i = 0; i < 8; ++i) {
      if (c.args[i] != FuzzArg::capability) continue;
      SCOPED_TRACE(c.name);
      auto w = words(c);
      for (u64 bad : {u64{1}, u64{1} << 32 | 200 << 5, ~u64{0}}) {
        w[i] = bad;
        EXPECT_TRUE(run(c, of(c.target.kind), w).is(Status::bad_capability));
      }
      if (!c.caps[i].optional) {
        w[i] = 0;
        EXPECT_TRUE(run(c, of(c.target.kind), w).is(Status::bad_capability));
      }
      for (u32 kind = 1; kind < 32; ++kind) {
        if (held[kind] == kNoCapability || kind == u32(c.caps[i].kind)) continue;
        w[i] = held[kind].value;
        EXPECT_TRUE(run(c, of(c.target.kind), w).is(Status::wrong_kind));
      }
      each_right(c.caps[i].rights, [&](Rights missing) {
        w[i] = weaker(c.caps[i].kind, missing).value;
        EXPECT_TRUE(run(c, of(c.target.kind), w).is(Status::missing_right)) << missing;
      });
    }
  }
}

TEST_F(CallsTest, ReservedBitsAreRefused) {
  for (const FuzzCall& c : kFuzzCalls) {
    SCOPED_TRACE(c.name);
    if (Call(c.number) == Call::yield) continue;
    const CapIndex target = c.target.kind == ObjectKind::none ? of(ObjectKind::notification) : of(c.target.kind);
    EXPECT_TRUE(run(c, target, words(c), u64{1} << 40).is(Status::invalid_argument));
    for (u32 i = 0; i < 8; ++i) {
      if (c.args[i] != FuzzArg::flags) continue;
      auto w = words(c);
      if (Call(c.number) == Call::space_map) w[0] = of(ObjectKind::memory).value, w[2] = 1;
      w[i] = u64{1} << 33;
      EXPECT_TRUE(run(c, target, w).is(Status::invalid_argument));
    }
  }
}

TEST_F(CallsTest, UnknownNumbersAreAnsweredSo) {
  bool known[256] = {};
  for (const FuzzCall& c : kFuzzCalls) known[c.number] = true;
  for (u32 number = 0; number < 256; ++number) {
    if (!known[number]) EXPECT_TRUE(k.call(t, Call(number)).is(Status::unknown_call)) << number;
  }
}

TEST_F(CallsTest, MemoryCloneSaysWhatItDoesNotClone) {
  const u64 group = of(ObjectKind::group).value;
  const auto clone = [&](CapIndex memory) { return k.call(t, Call::memory_clone, memory, {group}); };
  const CapIndex memory = k.call(t, Call::memory_create, CapIndex(group), {9, 0}).cap();
  const CapIndex part = k.call(t, Call::cap_derive, memory, {all_rights(ObjectKind::memory), u64{9} << 32}).cap();
  EXPECT_TRUE(clone(part).is(Status::missing_right));  // although it is all
  EXPECT_TRUE(clone(k.call(t, Call::memory_create, CapIndex(group), {9, 2}).cap()).is(Status::not_supported));
  const CapIndex domain = k.call(t, Call::dma_create, of(ObjectKind::kernel_control), {group}).cap();
  ASSERT_TRUE(k.call(t, Call::dma_map, domain, {memory.value, 3, 1}).ok());
  EXPECT_TRUE(clone(memory).is(Status::busy));
  ASSERT_TRUE(k.call(t, Call::dma_release, domain).ok());
  const auto made = clone(memory);
  ASSERT_TRUE(made.ok());
  const auto info = k.call(t, Call::memory_info, made.cap());
  EXPECT_EQ(info.word[0], 9u);
  EXPECT_EQ(info.word[1], 1u);
  EXPECT_TRUE(clone(made.cap()).ok());
}

// --- Allocation failures

class SweepTest : public CallsTest {
 protected:
  // Makes the call with the 1st, 2nd, ... allocation failing, until it succeeds; what it made is deleted again.
  // Each time everything must be as before.
  u64 sweep(Call call, CapIndex target, std::initializer_list<u64> w, u64 capabilities = 0, u64 descriptor = 0) {
    return sweep_allocation_failures(k.ram(), [&] {
      auto r = k.call(t, call, target, w, descriptor);
      EXPECT_FALSE(r.waits);
      if (r.ok()) {
        for (u32 i = 0; i < capabilities; ++i) EXPECT_TRUE(t.process->caps.remove(k.cpu(), r.cap(i)));
      }
      return r.status;
    });
  }
  CapIndex group() { return of(ObjectKind::group); }
};

TEST_F(SweepTest, CallsThatCreateGiveEverythingBack) {
  const CapIndex n = of(ObjectKind::notification);
  EXPECT_GE(sweep(Call::process_create, group(), {'a'}, 2), 4u);
  EXPECT_GE(sweep(Call::port_create, group(), {16}, 1), 2u);
  EXPECT_GE(sweep(Call::port_create, group(), {0}, 1), 1u);
  EXPECT_GE(sweep(Call::reply_create, group(), {}, 1), 1u);
  EXPECT_GE(sweep(Call::notification_create, group(), {}, 1), 1u);
  EXPECT_GE(sweep(Call::wait_set_create, group(), {}, 1), 1u);
  EXPECT_GE(sweep(Call::timer_create, group(), {n.value, 1}, 1), 1u);
  EXPECT_GE(sweep(Call::memory_create, group(), {20, 0}, 1), 1u);
  EXPECT_GE(sweep(Call::memory_create, group(), {20, 1}, 1), 20u);
  EXPECT_GE(sweep(Call::memory_create, group(), {20, 2}, 1), 1u);
  EXPECT_GE(sweep(Call::memory_clone, of(ObjectKind::memory), {group().value}, 1), 1u);
  EXPECT_GE(sweep(Call::group_create, group(), {'g'}, 1), 2u);
  EXPECT_GE(sweep(Call::context_create, group(), {}, 1), 1u);
  EXPECT_GE(sweep(Call::interrupt_create, of(ObjectKind::interrupt_control), {group().value, 7, 0}, 1), 1u);
  EXPECT_GE(sweep(Call::interrupt_create_message, of(ObjectKind::interrupt_control), {group().value}, 1), 1u);
  EXPECT_GE(sweep(Call::dma_create, of(ObjectKind::kernel_control), {group().value}, 1), 1u);
}

TEST_F(SweepTest, ThreadCreateGivesEverythingBack) {
  auto made = k.call(t, Call::process_create, group(), {'a'});
  // Not started: it goes with its capability.
  EXPECT_GE(sweep(Call::thread_create, made.cap(), {16}, 1), 4u);
  EXPECT_EQ(k.call(t, Call::process_info, made.cap()).word[1], 1u);  // the process is as good as new
}

TEST_F(SweepTest, CapabilityCallsGiveEverythingBack) {
  const CapIndex n = of(ObjectKind::notification);
  EXPECT_GE(sweep(Call::cap_derive, n, {0}, 1), 1u);
  Process& other = k.make_process();
  CapIndex to = k.give(t, other);
  k.give(other, *other.space());  // its first chunk is there
  EXPECT_GE(sweep_allocation_failures(k.ram(),
                                      [&] {
                                        auto r = k.call(t, Call::cap_grant, to, {n.value, 0});
                                        if (r.ok()) EXPECT_TRUE(other.caps.remove(k.cpu(), r.cap()));
                                        return r.status;
                                      }),
            1u);
  CapIndex moving = MUST(t.process->caps.insert_child(k.cpu(), *MUST(t.process->caps.find(n)), rights::inspect, 0));
  EXPECT_EQ(sweep_allocation_failures(k.ram(),
                                      [&] {
                                        auto r = k.call(t, Call::cap_move, moving);
                                        if (r.ok()) moving = r.cap();
                                        return r.status;
                                      }),
            0u);  // needs none
}

TEST_F(SweepTest, SpacesGrowOrStayAsTheyAre) {
  // The capability space is full up to its chunk: the next slot needs a frame, which stays.
  while (t.process->caps.used() + 1 < CapSpace::kSlotsPerChunk) k.give(t, k.root());
  for (u64 n = 1;; ++n) {
    const u32 used = t.process->caps.used();
    k.machine().faults.fail_after(n);
    auto r = k.call(t, Call::notification_create, group());
    const bool failed = !k.machine().faults.armed();
    k.machine().faults.fail_after(0);
    if (!failed) {
      EXPECT_TRUE(r.ok());
      EXPECT_GE(n, 3u);
      break;
    }
    ASSERT_TRUE(r.is(Status::no_memory));
    EXPECT_EQ(t.process->caps.used(), used);  // the new chunk may stay
  }
}

TEST_F(SweepTest, MappingGivesEverythingBack) {
  const CapIndex space = of(ObjectKind::address_space);
  const CapIndex memory = of(ObjectKind::memory);
  u64 at = 0;
  EXPECT_GE(
      sweep_allocation_failures(k.ram(),
                                [&] {
                                  auto r = k.call(t, Call::space_map, space, {memory.value, 0, 4, 3});
                                  if (r.ok())
                                    EXPECT_TRUE(k.call(t, Call::space_unmap, space, {r.word[0], 4 * kPageSize}).ok());
                                  return r.status;
                                }),
      1u);
  // Protecting the middle splits the region in three, unmapping it in two.
  for (auto [call, failures] : {std::pair{Call::space_protect, 2u}, std::pair{Call::space_unmap, 1u}}) {
    at = k.call(t, Call::space_map, space, {memory.value, 0, 4, 3}).word[0];
    for (u64 n = 1;; ++n) {
      const auto before = k.baseline();
      k.machine().faults.fail_after(n);
      auto r = k.call(t, call, space, {at + kPageSize, kPageSize, call == Call::space_protect ? 1u : 0u});
      const bool failed = !k.machine().faults.armed();
      k.machine().faults.fail_after(0);
      if (!failed) {
        EXPECT_TRUE(r.ok());
        EXPECT_EQ(n - 1, failures);
        break;
      }
      ASSERT_TRUE(r.is(Status::no_memory));
      EXPECT_EQ(k.baseline(), before);
    }
    EXPECT_TRUE(k.call(t, Call::space_unmap, space, {at, 4 * kPageSize}).ok());
  }
}

TEST_F(SweepTest, DmaMapGivesEverythingBack) {
  const CapIndex domain = of(ObjectKind::dma_domain);
  for (u64 pages : {1, 4, 150}) {
    auto memory = MUST(MemoryObject::create_anonymous(k.cpu(), k.root(), pages));
    CapIndex fresh = k.give(t, *memory);
    memory = nullptr;
    // Pages that were made meanwhile stay in the object: a new one each time.
    for (u64 n = 1;; ++n) {
      k.machine().faults.fail_after(n);
      auto r = k.call(t, Call::dma_map, domain, {fresh.value, 0, pages});
      const bool failed = !k.machine().faults.armed();
      k.machine().faults.fail_after(0);
      if (!failed) {
        EXPECT_TRUE(r.ok());
        break;
      }
      // What only makes it slower may fail without a word.
      ASSERT_TRUE(r.is(Status::no_memory) || r.ok()) << u32(r.status);
      if (r.ok()) EXPECT_TRUE(k.call(t, Call::dma_release, domain).ok());
      EXPECT_EQ(k.object<MemoryObject>(t, fresh).pinned_pages(), 0u);
    }
    EXPECT_TRUE(k.call(t, Call::dma_release, domain).ok());
    EXPECT_TRUE(k.call(t, Call::cap_delete, fresh).ok());
  }
}

TEST_F(SweepTest, MessagesWithCapabilitiesGiveEverythingBack) {
  for (bool fast : {false, true}) {
    for (u64 moves : {0, 15, 5}) {
      SCOPED_TRACE(moves);
      k.fast = fast;
      Thread& server = k.make_thread();
      CapIndex receive = k.copy(t, of(ObjectKind::port), server, all_rights(ObjectKind::port));
      for (u64 n = 1;; ++n) {
        for (u32 i = 0; i < 4; ++i) k.page(t).capabilities[i] = weaker(ObjectKind::notification, 0).value;
        ASSERT_TRUE(k.call(server, Call::receive, receive).waits);
        const u32 held_before = server.process->caps.used();
        const auto before = k.baseline();
        k.machine().faults.fail_after(n);
        auto r = k.call(t, Call::call, of(ObjectKind::port), {}, Descriptor::make(0, 4, moves));
        const bool failed = !k.machine().faults.armed();
        k.machine().faults.fail_after(0);
        if (!failed || (fast && r.waits)) {  // what fails on the fast path is tried once more on the general one
          EXPECT_TRUE(r.waits);
          EXPECT_EQ(server.process->caps.used(), held_before + 4);
          EXPECT_TRUE(k.call(server, Call::reply_receive, receive).waits);
          EXPECT_TRUE(k.result(t).ok());
          if (!failed) break;
          server.cancel(k.cpu());
          continue;
        }
        ASSERT_TRUE(r.is(Status::no_memory));
        EXPECT_EQ(k.baseline(), before);
        EXPECT_EQ(server.process->caps.used(), held_before);
        for (u32 i = 0; i < 4; ++i) EXPECT_TRUE(k.call(t, Call::cap_delete, CapIndex(k.page(t).capabilities[i])).ok());
        server.cancel(k.cpu());
      }
      server.process->kill(k.cpu(), 0);
      k.settle();
    }
  }
}

TEST_F(SweepTest, QuotaIsAskedForAndGivenBack) {
  auto limited = MUST(ResourceGroup::create(k.cpu(), k.root()));
  CapIndex poor = k.give(t, *limited);
  EXPECT_TRUE(k.call(t, Call::group_set_limits, poor, {0, 0, 100, 100}).ok());
  for (Call call : {Call::process_create, Call::port_create, Call::reply_create, Call::notification_create,
                    Call::group_create, Call::context_create}) {
    EXPECT_TRUE(k.call(t, call, poor).is(Status::quota_exceeded)) << u32(call);
  }
  EXPECT_TRUE(k.call(t, Call::memory_create, poor, {1, 0}).is(Status::quota_exceeded));
  auto info = k.call(t, Call::group_info, poor);
  for (u32 i = 0; i < 8; i += 2) EXPECT_EQ(info.word[i], 0u) << i;
  // Each limit by itself.
  constexpr u64 kAll = ~u64{0};
  EXPECT_TRUE(k.call(t, Call::group_set_limits, poor, {kAll, kAll, 2, kAll}).ok());
  EXPECT_TRUE(k.call(t, Call::notification_create, poor).ok());
  EXPECT_TRUE(k.call(t, Call::port_create, poor, {0}).ok());
  EXPECT_TRUE(k.call(t, Call::port_create, poor, {0}).is(Status::quota_exceeded));
  EXPECT_EQ(k.call(t, Call::group_info, poor).word[4], 2u);
  EXPECT_TRUE(k.call(t, Call::group_set_limits, poor, {kAll, kAll, kAll, 500}).ok());
  EXPECT_TRUE(k.call(t, Call::port_create, poor, {5}).ok());
  EXPECT_TRUE(k.call(t, Call::port_create, poor, {5}).is(Status::quota_exceeded));
}

}  // namespace
}  // namespace keel::testing
