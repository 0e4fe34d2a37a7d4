#include "user/services/vfs/access.h"

#include <gtest/gtest.h>

#include <string>

#include "user/runtime/host/fake_kernel.h"

namespace keel::vfs {
namespace {

SessionAccess scoped(std::initializer_list<std::string_view> paths, bool labelled = false) {
  SessionAccess access;
  for (const std::string_view path : paths) EXPECT_TRUE(access.paths.push_back(FixedString<255>(path)));
  access.labelled = labelled;
  return access;
}

NodeInfo node(u32 uid, u32 gid, u32 mode) { return NodeInfo{.mode = mode, .size = 0, .uid = uid, .gid = gid}; }

TEST(SessionAccess, ReachesWhatItWasGivenAndBelow) {
  const SessionAccess access = scoped({"/etc", "/disk/a"});
  for (const char* inside : {"/etc", "/etc/services.conf", "/disk/a", "/disk/a/b/c"}) {
    EXPECT_TRUE(access.reaches(inside)) << inside;
  }
  for (const char* outside : {"", "/", "/et", "/etcetera", "/disk", "/disk/ab", "/bin/etc"}) {
    EXPECT_FALSE(access.reaches(outside)) << outside;
  }
  EXPECT_TRUE(SessionAccess().reaches("/anything"));
  EXPECT_TRUE(scoped({"/"}).reaches("/anything"));
}

TEST(Caller, WithoutLabelsOnlyTheSessionCounts) {
  const SessionAccess all, some = scoped({"/etc"});
  EXPECT_FALSE(Caller(all, {}).is_restricted());
  EXPECT_TRUE(Caller(all, {}).check("/x", node(0, 0, 0), kAccessRead).has_value());
  EXPECT_TRUE(Caller(some, {}).is_restricted());
  EXPECT_TRUE(Caller(some, {}).check("/etc/x", node(0, 0, 0), kAccessRead).has_value());
  EXPECT_EQ(Caller(some, {}).check("/x", node(0, 0, 0777), kAccessRead).status(), Status::access_denied);
}

TEST(Caller, LabelsAreOwnerGroupOrOther) {
  const SessionAccess all;
  const NodeInfo file = node(10, 20, 0640);
  const auto reads = [&](Labels labels) { return Caller(all, labels).check("/x", file, kAccessRead).has_value(); };
  EXPECT_TRUE(reads({10, 99}));
  EXPECT_TRUE(reads({99, 20}));
  EXPECT_FALSE(reads({99, 99}));
  EXPECT_FALSE(reads({0, 0}));  // no superuser
  EXPECT_FALSE(Caller(all, {99, 20}).check("/x", file, kAccessWrite).has_value());
  EXPECT_FALSE(
      Caller(all, {10, 20}).check("/x", node(10, 20, 0044), kAccessRead).has_value());  // the owner's bits count
}

TEST(Caller, LabelsDoNotWidenASession) {
  const SessionAccess some = scoped({"/etc"});
  EXPECT_EQ(Caller(some, {10, 20}).check("/x", node(10, 20, 0777), kAccessRead).status(), Status::access_denied);
}

TEST(Caller, AProgramWithoutLabelsInALabelledSessionIsOneOfTheOthers) {
  const SessionAccess access = scoped({}, true);
  EXPECT_TRUE(Caller(access, {}).is_restricted());
  EXPECT_FALSE(Caller(access, {}).check("/x", node(10, 20, 0770), kAccessRead).has_value());
  EXPECT_TRUE(Caller(access, {}).check("/x", node(10, 20, 0004), kAccessRead).has_value());
  EXPECT_FALSE(Caller(access, {}).may_search(node(kNoLabel, kNoLabel, 0770)));  // no label is nobody's label
}

class FakeManager final : public ManagerServer {
 public:
  Result<ManagerFileAccessReply> file_access(Session, u64 service, u64 index) override {
    ++asked;
    if (fail != Status::ok) return fail;
    if (service != 7 || index == 2) return ManagerFileAccessReply{.path = {}, .labelled = service == 7};
    return ManagerFileAccessReply{.path = index == 0 ? "/etc" : "/disk", .labelled = true};
  }
  Result<ManagerListReply> list(Session, u64) override { return Status::not_supported; }
  Result<void> kill(Session, u64) override { return Status::not_supported; }
  Result<GivenCap> inspect(Session, u64) override { return Status::not_supported; }
  Result<void> ready(Session) override { return Status::not_supported; }
  void heartbeat(Session) override {}
  Result<GivenCap> state(Session) override { return Status::not_supported; }
  Result<void> restart(Session, std::string_view) override { return Status::not_supported; }
  Result<void> power(Session, u32) override { return Status::not_supported; }
  u32 asked = 0;
  Status fail = Status::ok;
};

TEST(AccessTable, AsksOnceForEachService) {
  host::FakeKernel kernel;
  FakeManager manager;
  kernel.connect(manager, 1);
  AccessTable table(ManagerClient(CapIndex(0x20)));
  const SessionAccess* seven = *table.of(7);
  EXPECT_EQ(seven->paths.size(), 2u);
  EXPECT_TRUE(seven->labelled);
  EXPECT_TRUE((*table.of(8))->all());
  EXPECT_FALSE((*table.of(8))->labelled);
  const u32 asked = manager.asked;
  EXPECT_EQ(*table.of(7), seven);
  EXPECT_EQ(manager.asked, asked);
}

TEST(AccessTable, WhoCannotBeLookedUpGetsNothing) {
  host::FakeKernel kernel;
  FakeManager manager;
  manager.fail = Status::no_memory;
  kernel.connect(manager, 1);
  AccessTable table(ManagerClient(CapIndex(0x20)));
  EXPECT_EQ(table.of(7).status(), Status::no_memory);
  manager.fail = Status::ok;
  EXPECT_TRUE(table.of(7).has_value());  // asked again
}

}  // namespace
}  // namespace keel::vfs
