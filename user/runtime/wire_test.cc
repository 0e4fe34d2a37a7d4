#include <gtest/gtest.h>

#include <random>
#include <string>

#include "idl/block.h"
#include "idl/console.h"
#include "idl/device.h"
#include "idl/file_system.h"
#include "idl/manager.h"
#include "idl/vfs.h"
#include "user/runtime/host/fake_kernel.h"

namespace keel {
namespace {

class TestBlock final : public BlockServer {
 public:
  explicit TestBlock(host::FakeKernel& kernel) : kernel_(kernel) {}
  Result<BlockInfoReply> info(Session session) override {
    last = session;
    if (fail != Status::ok) return fail;
    return BlockInfoReply{.sectors = 1234567890123, .sector_bytes = 512, .read_only = true};
  }
  Result<BlockAttachReply> attach(Session session, Cap ring, Cap completion, u64 completion_bits) override {
    last = session;
    if (fail != Status::ok) return fail;
    EXPECT_EQ(kind_of(ring.get()), ObjectKind::memory);
    EXPECT_EQ(kind_of(completion.get()), ObjectKind::notification);
    BlockAttachReply reply;
    reply.doorbell_bits = completion_bits << 1;
    reply.doorbell = copies ? GivenCap(doorbell) : GivenCap(Cap(kernel_.make(ObjectKind::notification)));
    return reply;
  }
  host::FakeKernel& kernel_;
  Session last;
  Status fail = Status::ok;
  bool copies = false;
  CapIndex doorbell{};
};

TEST(Wire, ScalarsTravelBothWays) {
  host::FakeKernel kernel;
  TestBlock server(kernel);
  kernel.connect(server, 42);
  const BlockClient client(CapIndex(0x20));
  const Result<BlockInfoResult> info = client.info();
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->sectors, 1234567890123u);
  EXPECT_EQ(info->sector_bytes, 512u);
  EXPECT_TRUE(info->read_only);
  EXPECT_EQ(server.last.badge, 42u);
  EXPECT_TRUE(BlockClient::connect(CapIndex(0x20)).has_value());
}

TEST(Wire, AHandlersFailureIsTheClientsStatus) {
  host::FakeKernel kernel;
  TestBlock server(kernel);
  server.fail = Status::io_error;
  kernel.connect(server, 1);
  EXPECT_EQ(BlockClient(CapIndex(0x20)).info().status(), Status::io_error);
}

TEST(Wire, CapabilitiesHaveOneOwnerAtATime) {
  host::FakeKernel kernel;
  TestBlock server(kernel);
  kernel.connect(server, 1);
  const CapIndex ring = kernel.make(ObjectKind::memory);
  const CapIndex completion = kernel.make(ObjectKind::notification);
  server.doorbell = kernel.make(ObjectKind::notification);
  const usize before = kernel.count();
  for (const bool copies : {false, true}) {
    server.copies = copies;
    Result<BlockAttachResult> attached = BlockClient(CapIndex(0x20)).attach(ring, completion, 4);
    ASSERT_TRUE(attached.has_value());
    EXPECT_EQ(attached->doorbell_bits, 8u);
    EXPECT_TRUE(kernel.live(attached->doorbell.get()));
    EXPECT_EQ(kernel.count(), before + 1);  // the doorbell, ours now
  }
  server.fail = Status::busy;
  EXPECT_EQ(BlockClient(CapIndex(0x20)).attach(ring, completion, 4).status(), Status::busy);
  server.fail = Status::ok;
  EXPECT_EQ(BlockClient(CapIndex(0x20)).attach(completion, ring, 4).status(), Status::wrong_kind);
  EXPECT_EQ(kernel.count(), before);
}

TEST(Wire, OnceMethodsCarryDifferentNumbers) {
  host::FakeKernel kernel;
  TestBlock server(kernel);
  kernel.connect(server, 1);
  const CapIndex ring = kernel.make(ObjectKind::memory), completion = kernel.make(ObjectKind::notification);
  ASSERT_TRUE(BlockClient(CapIndex(0x20)).attach(ring, completion, 4).has_value());
  const u32 first = server.last.request;
  ASSERT_TRUE(BlockClient(CapIndex(0x20)).attach(ring, completion, 4).has_value());
  EXPECT_NE(server.last.request, first);
}

TEST(Wire, IdempotentMethodsAreRepeatedWhenTheServerDies) {
  host::FakeKernel kernel;
  TestBlock server(kernel);
  kernel.connect(server, 1);
  auto answer = host::machine().call;
  u32 deaths = 3, calls = 0;
  host::machine().call = [&](CapIndex port, Message& m) {
    ++calls;
    if (deaths != 0) return --deaths, m.words[0] = 0xdead, Status::peer_died;
    return answer(port, m);
  };
  EXPECT_TRUE(BlockClient(CapIndex(0x20)).info().has_value());
  EXPECT_EQ(calls, 4u);
  deaths = 1000;
  EXPECT_EQ(BlockClient(CapIndex(0x20)).info().status(), Status::peer_died);
  calls = 0;
  EXPECT_EQ(
      BlockClient(CapIndex(0x20)).attach(kernel.make(ObjectKind::memory), kernel.make(ObjectKind::memory), 1).status(),
      Status::peer_died);
  EXPECT_EQ(calls, 1u);
}

TEST(Wire, AnotherVersionIsAnErrorNotAMisreading) {
  host::FakeKernel kernel;
  TestBlock server(kernel);
  kernel.connect(server, 1);
  const CapIndex stray = kernel.make(ObjectKind::memory);
  Message m;
  wire::Writer out(m, wire::header(kBlockInterface, kBlockVersion + 1, 1), 1);
  out.copy(stray);
  ASSERT_EQ(ipc::call(CapIndex(0x20), m), Status::ok);
  EXPECT_EQ(m.words[0], static_cast<u64>(Status::version_mismatch));
  EXPECT_EQ(kernel.count(), 1u);  // the copy was given up
  EXPECT_EQ(wire::hello(CapIndex(0x20), wire::header(kBlockInterface, kBlockVersion + 1, 0), kForever).status(),
            Status::version_mismatch);
}

class TestVfs final : public VfsServer {
 public:
  Result<NodeInfo> stat(Session, std::string_view path) override {
    seen = path;
    return NodeInfo{
        .inode = 9, .type = 2, .mode = 0755, .size = 4096, .links = 3, .uid = 0, .gid = 0, .mtime = 77, .blocks = 8};
  }
  Result<VfsResolveReply> resolve(Session, std::string_view) override { return Status::not_found; }
  Result<FixedBytes<3072>> read_dir(Session, std::string_view path, u64 cookie) override {
    seen = path;
    FixedBytes<3072> out;
    out.resize(cookie);
    for (u64 i = 0; i < out.size(); ++i) out.data()[i] = static_cast<std::byte>(i);
    return out;
  }
  Result<FixedString<1024>> read_link(Session, std::string_view path) override { return FixedString<1024>(path); }
  Result<VfsMountsReply> mounts(Session, u64 cursor) override {
    return VfsMountsReply{.next = cursor + 1, .path = "/", .type = "ext2", .label = "a label"};
  }
  std::string seen;
};

TEST(Wire, StringsAndBytesOfEveryLength) {
  host::FakeKernel kernel;
  TestVfs server;
  kernel.connect(server, 1);
  const VfsClient client(CapIndex(0x20));
  for (usize length = 0; length <= 1024; ++length) {
    std::string path(length, 'x');
    if (length > 0) path.back() = 'y';
    const auto link = client.read_link(path);
    ASSERT_TRUE(link.has_value()) << length;
    ASSERT_EQ(link->view(), path);
  }
  for (u64 length : {0, 1, 7, 8, 9, 63, 64, 3071, 3072}) {
    const auto bytes = client.read_dir("/some/where", length);
    ASSERT_TRUE(bytes.has_value());
    ASSERT_EQ(bytes->size(), length);
    EXPECT_EQ(server.seen, "/some/where");
    for (u64 i = 0; i < length; ++i) ASSERT_EQ(bytes->data()[i], static_cast<std::byte>(i));
  }
  EXPECT_EQ(client.read_link(std::string(1025, 'x')).status(), Status::too_big);
  const auto info = client.stat("/etc");
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->inode, 9u);
  EXPECT_EQ(info->mode, 0755u);
  EXPECT_EQ(info->blocks, 8u);
  const auto mounts = client.mounts(4);
  ASSERT_TRUE(mounts.has_value());
  EXPECT_EQ(mounts->next, 5u);
  EXPECT_EQ(mounts->label.view(), "a label");
}

TEST(Wire, UnusedRegistersGoOutAsZero) {
  host::FakeKernel kernel;
  host::machine().call = [&](CapIndex, Message& m) {
    EXPECT_EQ(m.word_count, 2u);
    for (u32 i = 2; i < kRegisterWords; ++i) EXPECT_EQ(m.words[i], 0u);
    return Status::cancelled;
  };
  EXPECT_EQ(VfsClient(CapIndex(0x20)).mounts(1).status(), Status::cancelled);
}

TEST(Wire, DamagedRepliesAreCorrupt) {
  host::FakeKernel kernel;
  TestVfs server;
  kernel.connect(server, 1);
  auto answer = host::machine().call;
  auto damaged = [&](auto damage) {
    host::machine().call = [&, damage](CapIndex port, Message& m) {
      const Status status = answer(port, m);
      damage(m);
      return status;
    };
    return VfsClient(CapIndex(0x20)).mounts(0).status();
  };
  EXPECT_EQ(damaged([](Message&) {}), Status::ok);
  EXPECT_EQ(damaged([](Message& m) { m.word_count = 0; }), Status::corrupt);
  EXPECT_EQ(damaged([](Message& m) { m.word_count = 3; }), Status::corrupt);
  EXPECT_EQ(damaged([](Message& m) { ++m.word_count; }), Status::corrupt);
  EXPECT_EQ(damaged([](Message& m) { m.words[0] = 999; }), Status::corrupt);
  EXPECT_EQ(damaged([](Message& m) { m.words[2] = 1000; }), Status::corrupt);
  EXPECT_EQ(damaged([](Message& m) { m.words[3] = ~u64{0}; }), Status::corrupt);
  EXPECT_EQ(damaged([&](Message& m) {
              m.cap_count = 1;
              message_page().capabilities[0] = kernel.make(ObjectKind::port).value;
            }),
            Status::corrupt);
  EXPECT_EQ(kernel.count(), 0u);
}

TEST(Wire, HostileRequestsAreRefusedAndLeakNothing) {
  host::FakeKernel kernel;
  TestVfs vfs;
  TestBlock block(kernel);
  std::mt19937_64 random(1);
  for (Server* server : {static_cast<Server*>(&vfs), static_cast<Server*>(&block)}) {
    kernel.connect(*server, 1);
    for (u32 round = 0; round < 20000; ++round) {
      Message m;
      m.word_count = static_cast<u32>(random() % (round % 2 != 0 ? 12 : kMaxMessageWords + 1));
      m.cap_count = static_cast<u32>(random() % 5);
      for (u64& word : m.words) word = random() % 3 == 0 ? random() : random() % 40;
      m.words[0] = wire::header(server->interface(), 1, static_cast<u32>(random() % 8)) | (random() & 1) << 40;
      for (u32 i = 8; i < kMaxMessageWords; i += 7) message_page().words[i] = random();
      for (u32 i = 0; i < m.cap_count; ++i) {
        message_page().capabilities[i] = random() % 2 != 0 ? kernel.make(ObjectKind::memory).value : random();
        m.moves |= 1u << i;
      }
      ASSERT_EQ(ipc::call(CapIndex(0x20), m), Status::ok);
      ASSERT_LT(m.words[0], kStatusCount);
      if (m.cap_count != 0) wire::Reader discard(m, 0, m.cap_count);
      ASSERT_EQ(kernel.count(), 0u) << "round " << round;
    }
  }
}

}  // namespace
}  // namespace keel
