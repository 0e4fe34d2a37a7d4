// For tests: two processes with a thread each, and an end that compares all memory and charges with the beginning.
#pragma once

#include <gtest/gtest.h>

#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {

class TwoProcesses : public ::testing::Test {
 protected:
  TwoProcesses() : before(k.baseline()) {}
  ~TwoProcesses() override {
    k.check();
    k.tear_down();
    EXPECT_EQ(k.baseline(), before);
  }
  CapIndex notification(Thread& t) { return k.give(t, *MUST(Notification::create(k.cpu(), k.root()))); }
  bool live(Thread& t, CapIndex index) { return t.process->caps.find(index).has_value(); }
  // The call with each allocation failing in turn; memory is as before each time. Answers how many there are.
  template <class Body>
  u64 each_allocation_fails(Body body) {
    for (u64 n = 1;; ++n) {
      const auto held = k.baseline();
      k.machine().faults.fail_after(n);
      const CallResult r = body();
      const bool failed = !k.machine().faults.armed();
      k.machine().faults.fail_after(0);
      if (!failed) {
        EXPECT_TRUE(r.ok());
        return n - 1;
      }
      EXPECT_TRUE(r.is(Status::no_memory));
      EXPECT_EQ(k.baseline(), held);
    }
  }

  static constexpr Rights kAll = 0xffff;
  TestKernel k;
  TestMachine::Baseline before;
  Thread& a = k.make_thread();
  Thread& b = k.make_thread();
};

}  // namespace keel::testing
