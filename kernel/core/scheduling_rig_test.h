// For tests of scheduling: a simulated clock on which one time stamp is one nanosecond and time passes only when a test
// says so; reservations, groups with weights, and what they have used.
#pragma once

#include <gtest/gtest.h>

#include "kernel/core/reservation.h"
#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {

constexpr u64 kMs = 1'000'000;
constexpr u64 kUs = 1'000;
constexpr u32 kRealTime = 50;

class SchedulingTest : public ::testing::Test {
 protected:
  SchedulingTest() : before(k.baseline()) {}
  ~SchedulingTest() override {
    k.check();
    k.tear_down();
    EXPECT_EQ(k.baseline(), before);
  }
  // The notification may be null.
  void tell(CpuBudget& budget, Notification* n, u64 bits) {
    swap_in(n, bits, [&](Binding<Notification>& told) { budget.notify(k.cpu(), told); });
  }
  void tell_pressure(ResourceGroup& group, Notification* n, u64 bits, u64 pages) {
    swap_in(n, bits, [&](Binding<Notification>& told) { group.notify_pressure(k.cpu(), told, pages); });
  }
  template <class F>
  void swap_in(Notification* n, u64 bits, F f) {
    Binding<Notification> told;
    if (n != nullptr) MUST(told.bind(k.cpu(), {*n, nullptr, k.root(), bits}));
    f(told);
    told.release(k.cpu());
  }
  Thread* runs() {
    k.cpu().reschedule = true;
    enter_self_interrupt(k.cpu());
    k.check();
    return k.cpu().current;
  }
  RefPtr<Reservation> reserve(u32 level, u64 budget_ns, u64 period_ns) {
    auto r = MUST(Reservation::create(k.cpu(), k.root()));
    MUST(r->configure(k.cpu(), level, budget_ns, period_ns));
    return r;
  }
  RefPtr<ResourceGroup> group(u32 weight, ResourceGroup* parent = nullptr) {
    auto g = MUST(ResourceGroup::create(k.cpu(), parent != nullptr ? *parent : k.root()));
    g->set_cpu(k.cpu(), 0, 0, weight);
    return g;
  }
  Thread& thread_in(ResourceGroup& g, u32 level = kNormalLevel) { return k.make_thread(k.make_process(g), level); }
  u64 consumed(const Thread& t) {
    k.cpu().bring_accounts_up_to_date();
    return t.own_context.consumed;
  }
  u64 consumed(const ResourceGroup& g) {
    k.cpu().bring_accounts_up_to_date();
    return g.consumed(k.cpu());
  }
  static void expect_near(u64 value, u64 wanted, u64 slack) {
    EXPECT_GE(value + slack, wanted);
    EXPECT_LE(value, wanted + slack);
  }

  TestKernel k;
  TestMachine::Baseline before;
};

}  // namespace keel::testing
