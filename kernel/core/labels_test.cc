// Labels of processes: who may set them, and who is told.
#include <gtest/gtest.h>

#include "kernel/syscall/kernel_rig_test.h"

namespace keel::testing {
namespace {

class LabelTest : public ::testing::Test {
 protected:
  CallResult set(CapIndex process, u64 uid, u64 gid) {
    return k.call(a, Call::process_set_labels, process, {authority.value, uid, gid});
  }
  TestKernel k;
  Thread& a = k.make_thread();
  CapIndex group = k.give(a, k.root());
  CapIndex authority = k.give(a, k.machine().kernel_control());
  CapIndex port = k.call(a, Call::port_create, group).cap();
};

TEST_F(LabelTest, AServerIsToldThoseOfItsCaller) {
  Process& labelled = k.make_process();
  ASSERT_TRUE(set(k.give(a, labelled), 1000, 100).ok());
  Thread& client = k.make_thread(labelled);
  CapIndex call = k.copy(a, port, client, 0xffff);
  EXPECT_TRUE(k.call(a, Call::caller_labels).is(Status::bad_state));
  for (bool fast : {false, true}) {
    k.fast = fast;
    ASSERT_TRUE(k.call(a, Call::receive, port).waits);
    ASSERT_TRUE(k.call(client, Call::call, call).waits);
    auto labels = k.call(a, Call::caller_labels);
    ASSERT_TRUE(labels.ok());
    EXPECT_EQ(labels.word[0], 1000u);
    EXPECT_EQ(labels.word[1], 100u);
    ASSERT_TRUE(k.call(a, Call::reply_receive, port).waits);
    EXPECT_TRUE(k.result(client).ok());
    a.cancel(k.cpu());
    EXPECT_TRUE(k.call(a, Call::caller_labels).is(Status::bad_state));
  }
}

TEST_F(LabelTest, NobodyInheritsAny) {
  Process& labelled = k.make_process();
  ASSERT_TRUE(set(k.give(a, labelled), 0, 0).ok());
  Thread& parent = k.make_thread(labelled);
  CapIndex child = k.call(parent, Call::process_create, k.give(parent, k.root()), {'c'}).cap();
  EXPECT_EQ(k.object<Process>(parent, child).uid(), Process::kNoLabel);
  EXPECT_EQ(k.object<Process>(parent, child).gid(), Process::kNoLabel);
}

TEST_F(LabelTest, AreSetBeforeTheFirstThreadOrNever) {
  Process& running = k.make_process();
  CapIndex process = k.give(a, running);
  EXPECT_TRUE(set(process, u64{1} << 32, 0).is(Status::invalid_argument));
  EXPECT_TRUE(set(process, 0, u64{1} << 32).is(Status::invalid_argument));
  EXPECT_EQ(running.uid(), Process::kNoLabel);
  k.make_thread(running);
  EXPECT_TRUE(set(process, 1, 1).is(Status::bad_state));
  EXPECT_TRUE(set(k.give(a, *a.process), 0, 0).is(Status::bad_state));  // not even one's own
  EXPECT_EQ(running.uid(), Process::kNoLabel);
}

TEST_F(LabelTest, ManagingAProcessIsNotEnough) {
  CapIndex process = k.give(a, k.make_process());
  authority = k.copy(a, authority, a, Rights(~rights::kernel_control::label));
  EXPECT_TRUE(set(process, 1, 1).is(Status::missing_right));
}

}  // namespace
}  // namespace keel::testing
