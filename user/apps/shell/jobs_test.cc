#include "user/apps/shell/jobs.h"

#include <gtest/gtest.h>

namespace keel::shell {
namespace {

TEST(Jobs, NumbersAreTheLowestFree) {
  Jobs jobs;
  EXPECT_EQ(jobs.add_background("a", 11, Cap()).number, 1u);
  EXPECT_EQ(jobs.add_background("b", 12, Cap()).number, 2u);
  EXPECT_EQ(jobs.add_background("c", 13, Cap()).number, 3u);
  jobs.find_pid(12)->state = JobState::ended;
  u32 reported = 0;
  jobs.take_ended([&](const Job& job) { reported = job.number; });
  EXPECT_EQ(reported, 2u);
  EXPECT_EQ(jobs.find_number(2), nullptr);
  EXPECT_EQ(jobs.add_background("d", 14, Cap()).number, 2u);
  EXPECT_EQ(jobs.list()[1].pid, 14u);
  EXPECT_EQ(jobs.add_background("e", 15, Cap()).number, 4u);
}

TEST(Jobs, AnyRunning) {
  Jobs jobs;
  EXPECT_FALSE(jobs.any_running());
  jobs.add_background("a", 11, Cap());
  EXPECT_TRUE(jobs.any_running());
  jobs.find_number(1)->state = JobState::ended;
  EXPECT_FALSE(jobs.any_running());
  EXPECT_EQ(jobs.list().size(), 1u);
}

TEST(Jobs, DescribesExits) {
  EXPECT_EQ(describe_exit(0).view(), "done");
  EXPECT_EQ(describe_exit(2).view(), "exit status 2");
  EXPECT_EQ(describe_exit(kExitKilled).view(), "killed");
  EXPECT_EQ(describe_exit(kExitInterrupted).view(), "interrupted");
  const u64 divide = u64{0xfa17} << 32 | 2;
  EXPECT_TRUE(is_fault(divide));
  EXPECT_FALSE(is_fault(2));
  EXPECT_EQ(describe_exit(divide).view(), "died: division error");
}

}  // namespace
}  // namespace keel::shell
