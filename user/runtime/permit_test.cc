#include "user/runtime/permit.h"

#include <gtest/gtest.h>

#include "idl/permission.h"
#include "user/runtime/host/fake_kernel.h"

namespace keel {
namespace {

class Hook final : public PermissionServer {
 public:
  Result<u32> check(Session, u32 uid, u32, std::string_view object, u32 wanted) override {
    ++asked;
    last_uid = uid;
    last_object = object == "/secret";
    last_wanted = wanted;
    if (fail != Status::ok) return fail;
    return answer;
  }
  u32 asked = 0, last_uid = 0, last_wanted = 0, answer = 7;
  bool last_object = false;
  Status fail = Status::ok;
};

class Permit : public testing::Test {
 protected:
  Permit() { kernel.connect(hook, 1); }
  host::FakeKernel kernel;
  Hook hook;
  CapIndex port = CapIndex(0x20);
  Labels who{5, 6};
};

TEST_F(Permit, WithoutAHookTheServicesRulesDecide) {
  EXPECT_EQ(*permit(who, "/secret", 6, 4), 4u);
  EXPECT_EQ(*permit(who, "/secret", 6, 7), 6u);
  EXPECT_EQ(hook.asked, 0u);
}

TEST_F(Permit, AHookOnlyReduces) {
  EXPECT_EQ(*permit_by(port, who, "/secret", 6, 4), 4u);  // it allows all
  EXPECT_EQ(hook.last_uid, 5u);
  EXPECT_EQ(hook.last_wanted, 4u);
  EXPECT_TRUE(hook.last_object);
  hook.answer = 2;
  EXPECT_EQ(*permit_by(port, who, "/secret", 6, 4), 0u);
  hook.answer = ~u32{0};
  EXPECT_EQ(*permit_by(port, who, "/secret", 2, 7), 2u);
}

TEST_F(Permit, WhatTheServiceForbidsIsNotAsked) {
  EXPECT_EQ(*permit_by(port, who, "/secret", 6, 1), 0u);
  EXPECT_EQ(hook.asked, 0u);
}

TEST_F(Permit, AHookThatFailsAllowsNothing) {
  hook.fail = Status::no_memory;
  EXPECT_EQ(permit_by(port, who, "/secret", 6, 6).status(), Status::no_memory);
}

TEST_F(Permit, ModeBitsHaveNoSuperuser) {
  EXPECT_EQ(access_by_mode({1, 2}, 1, 2, 0751), 7u);
  EXPECT_EQ(access_by_mode({3, 2}, 1, 2, 0751), 5u);
  EXPECT_EQ(access_by_mode({3, 4}, 1, 2, 0751), 1u);
  EXPECT_EQ(access_by_mode({0, 0}, 1, 2, 0750), 0u);
  EXPECT_EQ(access_by_mode({}, kNoLabel, kNoLabel, 0770), 0u);
}

}  // namespace
}  // namespace keel
