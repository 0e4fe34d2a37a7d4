#include "kernel/group/group.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernel/mm/machine_rig_test.h"

namespace keel::testing {
namespace {

TEST(Group, ChargeCountsInEveryAncestor) {
  TestMachine m;
  const auto before = m.baseline();
  {
    auto a = MUST(ResourceGroup::create(m.cpu(), m.root()));
    auto b = MUST(ResourceGroup::create(m.cpu(), *a));
    const u64 used = m.root().usage(Resource::frames);
    MUST(b->charge(Resource::frames, 5));
    MUST(a->charge(Resource::frames, 2));
    EXPECT_EQ(b->usage(Resource::frames), 5u);
    EXPECT_EQ(a->usage(Resource::frames), 7u);
    EXPECT_EQ(m.root().usage(Resource::frames), used + 7);
    b->uncharge(Resource::frames, 5);
    a->uncharge(Resource::frames, 2);
  }
  EXPECT_EQ(m.baseline(), before);
}

TEST(Group, FailedChargeChangesNothing) {
  TestMachine m;
  auto a = MUST(ResourceGroup::create(m.cpu(), m.root()));
  auto b = MUST(ResourceGroup::create(m.cpu(), *a));
  auto c = MUST(ResourceGroup::create(m.cpu(), *b));
  a->set_limit(Resource::frames, 10);
  const u64 used = m.root().usage(Resource::frames);
  MUST(c->charge(Resource::frames, 4));
  EXPECT_EQ(c->charge(Resource::frames, 7).status(), Status::quota_exceeded);
  EXPECT_EQ(c->charge(Resource::frames, ~u64{0}).status(), Status::quota_exceeded);
  for (ResourceGroup* g : {a.get(), b.get(), c.get()}) EXPECT_EQ(g->usage(Resource::frames), 4u);
  EXPECT_EQ(m.root().usage(Resource::frames), used + 4);
  MUST(c->charge(Resource::frames, 6));
  c->uncharge(Resource::frames, 10);
}

TEST(Group, LoweredLimitStopsFurtherChargesOnly) {
  TestMachine m;
  auto a = MUST(ResourceGroup::create(m.cpu(), m.root()));
  MUST(a->charge(Resource::frames, 8));
  a->set_limit(Resource::frames, 3);
  EXPECT_EQ(a->charge(Resource::frames, 1).status(), Status::quota_exceeded);
  a->uncharge(Resource::frames, 8);
  MUST(a->charge(Resource::frames, 3));
  a->uncharge(Resource::frames, 3);
}

TEST(Group, DepthIsBounded) {
  TestMachine m;
  const auto before = m.baseline();
  {
    std::vector<RefPtr<ResourceGroup>> chain;
    ResourceGroup* parent = &m.root();
    for (u32 i = 1; i < ResourceGroup::kMaxDepth; ++i) {
      chain.push_back(MUST(ResourceGroup::create(m.cpu(), *parent)));
      parent = chain.back().get();
    }
    EXPECT_EQ(ResourceGroup::create(m.cpu(), *parent).status(), Status::too_deep);
  }
  EXPECT_EQ(m.baseline(), before);
}

TEST(Group, CreationMayFail) {
  TestMachine m;
  EXPECT_GE(sweep_allocation_failures(m, [&] { return ResourceGroup::create(m.cpu(), m.root()).status(); }), 1u);
}

}  // namespace
}  // namespace keel::testing
