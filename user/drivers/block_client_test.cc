#include "user/drivers/block_client.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

namespace keel {
namespace {

// A driver with a disk, served whenever the client waits. `plan` says what happens at each wait.
class FakeDriver final : public BlockTransport {
 public:
  explicit FakeDriver(u64 sectors) : disk_(sectors * kBlockSectorBytes) {
    for (usize i = 0; i < disk_.size(); ++i) disk_[i] = static_cast<std::byte>(i * 31 >> 3);
  }

  std::span<std::byte> memory() override { return {memory_->bytes, sizeof memory_->bytes}; }
  Result<BlockGeometry> attach() override {
    ++attachments;
    restarted = false;
    if (!attach_results.empty()) {
      const Status status = attach_results.front();
      attach_results.pop_front();
      if (status != Status::ok) return status;
    }
    requests_ = *RingConsumer<BlockRequest>::attach(memory().first(kPageSize), kBlockRingEntries);
    completions_ = *RingProducer<BlockCompletion>::attach(memory().subspan(kPageSize), kBlockRingEntries);
    taken_.clear();
    return BlockGeometry{
        .sectors = disk_.size() / kBlockSectorBytes, .sector_bytes = kBlockSectorBytes, .read_only = read_only};
  }
  void ring_doorbell() override {}
  Result<Woken> wait() override {
    take();
    most_in_flight = std::max(most_in_flight, taken_.size());
    if (on_wait) {
      const Result<Woken> planned = on_wait(++waits);
      if (planned.has_value()) {
        if (*planned == Woken::restarted) return planned;
      } else if (planned.error() != Status::would_block) {
        return planned;
      }
    }
    // Newest first: completions need not come in order.
    while (!taken_.empty()) {
      finish(taken_.back());
      taken_.pop_back();
    }
    return Woken::completions;
  }
  bool was_restarted() override { return restarted; }
  void end() override { ++ends; }

  void take() {
    BlockRequest r;
    while (requests_.pop(&r).has_value()) taken_.push_back(r);
  }
  void finish_some(usize count) {
    for (; count > 0 && !taken_.empty(); --count) {
      finish(taken_.front());
      taken_.pop_front();
    }
  }
  void complete(u64 id, u32 status) { ASSERT_TRUE(completions_.push({id, status, 0}).has_value()); }
  void finish(const BlockRequest& r) {
    std::byte* pool = memory().data() + kBlockPoolFirstPage * kPageSize + r.pool_offset;
    ASSERT_LE(r.pool_offset + r.bytes, BlockDevice::kPoolPages * kPageSize);
    ASSERT_LE((r.first_sector * kBlockSectorBytes) + r.bytes, disk_.size());
    std::byte* at = disk_.data() + r.first_sector * kBlockSectorBytes;
    if (r.first_sector == bad_sector) return complete(r.id, static_cast<u32>(Status::io_error));
    if (r.operation == BlockOperation::read) std::memcpy(pool, at, r.bytes);
    if (r.operation == BlockOperation::write) std::memcpy(at, pool, r.bytes);
    flushes += r.operation == BlockOperation::flush;
    complete(r.id, 0);
  }
  std::span<const std::byte> disk(u64 offset, u64 bytes) const { return std::span(disk_).subspan(offset, bytes); }

  bool restarted = false;
  bool read_only = false;
  u64 bad_sector = ~u64{0};
  std::deque<Status> attach_results;
  std::function<Result<Woken>(u32)> on_wait;  // would_block: serve as usual
  u32 attachments = 0, waits = 0, ends = 0, flushes = 0;
  usize most_in_flight = 0;

 private:
  struct alignas(kPageSize) Memory {
    std::byte bytes[BlockDevice::kMemoryPages * kPageSize];
  };
  std::unique_ptr<Memory> memory_ = std::make_unique<Memory>();
  std::vector<std::byte> disk_;
  RingConsumer<BlockRequest> requests_;
  RingProducer<BlockCompletion> completions_;
  std::deque<BlockRequest> taken_;
};

class BlockClientTest : public testing::Test {
 protected:
  FakeDriver driver_{16384};
  BlockDevice disk_ = *BlockDevice::open(driver_);

  bool reads(u64 offset, u64 bytes) {
    std::vector<std::byte> out(bytes, std::byte{0xcc});
    const Result<void> done = disk_.read(offset, out);
    return done.has_value() && std::ranges::equal(out, driver_.disk(offset, bytes));
  }
};

TEST_F(BlockClientTest, ReadsAnyBytes) {
  EXPECT_TRUE(reads(0, 512));
  EXPECT_TRUE(reads(1, 1));
  EXPECT_TRUE(reads(511, 2));
  EXPECT_TRUE(reads(1000, 100'000));
  EXPECT_TRUE(reads(0, 0));
  EXPECT_TRUE(reads(513, 5 << 20));
  EXPECT_EQ(driver_.most_in_flight, BlockDevice::kSlots);
  EXPECT_TRUE(reads((8 << 20) - 1, 1));
}

TEST_F(BlockClientTest, RefusesWhatIsNotThere) {
  std::vector<std::byte> out(2);
  EXPECT_EQ(disk_.read((8 << 20) - 1, out).status(), Status::out_of_range);
  EXPECT_EQ(disk_.read(~u64{0}, out).status(), Status::out_of_range);
  EXPECT_EQ(disk_.write(1, out).status(), Status::invalid_argument);
}

TEST_F(BlockClientTest, WritesAndFlushes) {
  std::vector<std::byte> data(200 * 512, std::byte{0x5a});
  ASSERT_TRUE(disk_.write(1024, data).has_value());
  ASSERT_TRUE(disk_.flush().has_value());
  EXPECT_EQ(driver_.flushes, 1u);
  EXPECT_TRUE(std::ranges::equal(data, driver_.disk(1024, data.size())));
  EXPECT_TRUE(reads(512, 300 * 512));
}

TEST_F(BlockClientTest, SubmitsAgainToASuccessor) {
  driver_.on_wait = [&](u32 n) -> Result<BlockTransport::Woken> {
    if (n > 3) return Status::would_block;
    driver_.finish_some(5);  // some are done, the rest dies with the driver
    return BlockTransport::Woken::restarted;
  };
  EXPECT_TRUE(reads(300, 3 << 20));
  EXPECT_EQ(driver_.attachments, 4u);
}

TEST_F(BlockClientTest, LearnsOfARestartWhileIdle) {
  driver_.restarted = true;
  EXPECT_TRUE(reads(0, 4096));
  EXPECT_EQ(driver_.attachments, 2u);
}

TEST_F(BlockClientTest, AttachesAgainWhenNobodyAnswers) {
  driver_.on_wait = [&](u32 n) -> Result<BlockTransport::Woken> {
    if (n == 1) return Status::timed_out;
    return Status::would_block;
  };
  driver_.attach_results = {Status::peer_died, Status::busy, Status::ok};
  EXPECT_TRUE(reads(0, 1 << 20));
}

TEST_F(BlockClientTest, GivesUpInTheEndAndRecoversLater) {
  driver_.on_wait = [](u32) -> Result<BlockTransport::Woken> { return Status::timed_out; };
  std::vector<std::byte> out(512);
  EXPECT_EQ(disk_.read(0, out).status(), Status::timed_out);
  EXPECT_LE(driver_.attachments, 1 + BlockDevice::kMaxAttempts);
  driver_.on_wait = nullptr;
  EXPECT_TRUE(reads(0, 70'000));
}

TEST_F(BlockClientTest, ADriverThatWasGivenUpIsAnError) {
  driver_.restarted = true;
  driver_.attach_results = {Status::revoked};
  std::vector<std::byte> out(512);
  EXPECT_EQ(disk_.read(0, out).status(), Status::revoked);
  EXPECT_TRUE(reads(0, 512));
}

TEST_F(BlockClientTest, ABadSectorFailsItsReadOnly) {
  driver_.bad_sector = 128;
  std::vector<std::byte> out(256 * 1024);
  EXPECT_EQ(disk_.read(0, out).status(), Status::io_error);
  EXPECT_TRUE(reads(0, 1024));
  EXPECT_EQ(driver_.attachments, 1u);
}

TEST_F(BlockClientTest, CompletionsThatNobodyAskedForLeadToANewAttachment) {
  driver_.on_wait = [&](u32 n) -> Result<BlockTransport::Woken> {
    if (n == 1) driver_.complete(0xffff'ffff'ffff'ff03, 0);
    if (n == 2) driver_.complete(77, 0);
    return Status::would_block;
  };
  EXPECT_TRUE(reads(0, 200'000));
  EXPECT_GE(driver_.attachments, 2u);
}

TEST_F(BlockClientTest, UnknownStatusesAreIoErrors) {
  driver_.on_wait = [&](u32 n) -> Result<BlockTransport::Woken> {
    if (n != 1) return Status::would_block;
    const BlockRequest r = *reinterpret_cast<const BlockRequest*>(driver_.memory().data() + sizeof(RingHeader));
    driver_.complete(r.id, 0xffffffff);
    return Status::timed_out;
  };
  std::vector<std::byte> out(512);
  EXPECT_EQ(disk_.read(0, out).status(), Status::io_error);
}

TEST_F(BlockClientTest, EveryOperationIsEnded) {
  ASSERT_TRUE(reads(0, 10));
  ASSERT_TRUE(disk_.flush().has_value());
  EXPECT_EQ(driver_.ends, 2u);
}

}  // namespace
}  // namespace keel
