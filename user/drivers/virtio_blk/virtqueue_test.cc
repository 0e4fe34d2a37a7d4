#include "user/drivers/virtio_blk/virtqueue.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace keel::virtio {
namespace {

// The device's half, by the standard; may be told to misbehave.
class FakeDevice {
 public:
  explicit FakeDevice(std::byte* memory, u16 size) : memory_(memory), size_(size) {}

  u16 available() const { return get<u16>(Virtqueue::kAvailable + 2); }
  // The chains that became available since the last call, by their heads.
  std::vector<u16> fetch() {
    std::vector<u16> heads;
    for (; seen_ != available(); ++seen_) heads.push_back(get<u16>(Virtqueue::kAvailable + 4 + 2 * (seen_ % size_)));
    return heads;
  }
  std::vector<Descriptor> chain(u16 head) const {
    std::vector<Descriptor> found;
    for (u16 at = head;;) {
      found.push_back(get<Descriptor>(Virtqueue::kDescriptors + 16 * at));
      if ((found.back().flags & kDescriptorNext) == 0 || found.size() > size_) return found;
      at = found.back().next;
    }
  }
  void use(u32 id, u32 bytes) {
    put(Virtqueue::kUsed + 4 + 8 * (used_ % size_), UsedEntry{id, bytes});
    put(Virtqueue::kUsed + 2, ++used_);
  }
  void set_index(u16 index) { put(Virtqueue::kUsed + 2, used_ = index); }
  void set_flags(u16 flags) { put(Virtqueue::kUsed, flags); }

 private:
  template <class T>
  T get(u64 at) const {
    T value;
    std::memcpy(&value, memory_ + at, sizeof value);
    return value;
  }
  template <class T>
  void put(u64 at, T value) {
    std::memcpy(memory_ + at, &value, sizeof value);
  }
  std::byte* memory_;
  u16 size_;
  u16 seen_ = 0;
  u16 used_ = 0;
};

class VirtqueueTest : public testing::Test {
 protected:
  static constexpr u16 kSize = 8;
  struct alignas(kPageSize) Memory {
    std::byte bytes[Virtqueue::kBytes]{};
  };
  Memory memory_;
  Virtqueue queue_ = *Virtqueue::create(memory_.bytes, kSize);
  FakeDevice device_{memory_.bytes, kSize};

  static std::vector<Segment> request(usize data) {
    std::vector<Segment> segments{{.address = 0x1000, .bytes = 16}};
    for (usize i = 0; i < data; ++i) segments.push_back({0x10000 + i * kPageSize, 4096, true});
    segments.push_back({0x2000, 1, true});
    return segments;
  }
};

TEST_F(VirtqueueTest, RefusesBadSizesAndMemory) {
  EXPECT_EQ(Virtqueue::create(memory_.bytes, 0).status(), Status::invalid_argument);
  EXPECT_EQ(Virtqueue::create(memory_.bytes, 12).status(), Status::invalid_argument);
  EXPECT_EQ(Virtqueue::create(memory_.bytes, 512).status(), Status::invalid_argument);
  EXPECT_EQ(Virtqueue::create(std::span(memory_.bytes).subspan(8), 8).status(), Status::misaligned);
  EXPECT_EQ(Virtqueue::create(std::span(memory_.bytes).first(kPageSize), 8).status(), Status::out_of_range);
}

TEST_F(VirtqueueTest, TheDeviceSeesTheChainAsSubmitted) {
  const Result<u16> chain = queue_.submit(request(2));
  ASSERT_TRUE(chain.has_value());
  EXPECT_EQ(device_.available(), 0);
  EXPECT_TRUE(queue_.publish());
  EXPECT_FALSE(queue_.publish());
  const std::vector<u16> heads = device_.fetch();
  ASSERT_EQ(heads, std::vector<u16>{*chain});
  const std::vector<Descriptor> seen = device_.chain(heads[0]);
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[0].address, 0x1000u);
  EXPECT_EQ(seen[0].flags, kDescriptorNext);
  EXPECT_EQ(seen[2].address, 0x11000u);
  EXPECT_EQ(seen[2].flags, kDescriptorNext | kDescriptorWrite);
  EXPECT_EQ(seen[3].flags, kDescriptorWrite);
  EXPECT_EQ(queue_.free(), kSize - 4);
}

TEST_F(VirtqueueTest, ADeviceThatPollsWantsNoNotification) {
  device_.set_flags(1);
  ASSERT_TRUE(queue_.submit(request(1)).has_value());
  EXPECT_FALSE(queue_.publish());
}

TEST_F(VirtqueueTest, CompletesInAnyOrderForever) {
  for (int round = 0; round < 50'000; ++round) {
    const u16 a = *queue_.submit(request(1));
    const u16 b = *queue_.submit(request(2));
    queue_.publish();
    ASSERT_EQ(device_.fetch(), (std::vector<u16>{a, b}));
    ASSERT_EQ(device_.chain(b).size(), 4u);
    device_.use(b, 8193);
    device_.use(a, 4097);
    ASSERT_EQ((*queue_.take())->chain, b);
    const std::optional<Used> second = *queue_.take();
    ASSERT_EQ(second->chain, a);
    ASSERT_EQ(second->written, 4097u);
    ASSERT_FALSE(queue_.take()->has_value());
    ASSERT_EQ(queue_.free(), kSize);
  }
}

TEST_F(VirtqueueTest, FullQueueSaysSoAndTakesNothing) {
  ASSERT_TRUE(queue_.submit(request(4)).has_value());
  EXPECT_EQ(queue_.submit(request(1)).status(), Status::would_block);
  EXPECT_EQ(queue_.submit(request(7)).status(), Status::too_big);
  EXPECT_EQ(queue_.free(), 2);
  EXPECT_EQ(queue_.submit({}).status(), Status::invalid_argument);
  const Segment wrong[] = {{0, 1, true}, {0, 1, false}};
  EXPECT_EQ(queue_.submit(wrong).status(), Status::invalid_argument);
}

TEST_F(VirtqueueTest, LengthsBeyondTheChainAreCut) {
  const u16 chain = *queue_.submit(request(1));
  queue_.publish();
  device_.use(chain, 0xffffffff);
  EXPECT_EQ((*queue_.take())->written, 4097u);
}

TEST_F(VirtqueueTest, UsedIdOutOfRangeBreaksTheQueue) {
  ASSERT_TRUE(queue_.submit(request(1)).has_value());
  queue_.publish();
  device_.use(kSize, 0);
  EXPECT_EQ(queue_.take().status(), Status::corrupt);
  EXPECT_EQ(queue_.take().status(), Status::corrupt);
  EXPECT_EQ(queue_.submit(request(1)).status(), Status::corrupt);
}

TEST_F(VirtqueueTest, UsedIdInsideAChainBreaksTheQueue) {
  const u16 chain = *queue_.submit(request(1));
  queue_.publish();
  device_.use((chain + 1) % kSize, 0);
  EXPECT_EQ(queue_.take().status(), Status::corrupt);
}

TEST_F(VirtqueueTest, UsingAChainTwiceBreaksTheQueue) {
  const u16 chain = *queue_.submit(request(1));
  ASSERT_TRUE(queue_.submit(request(1)).has_value());
  queue_.publish();
  device_.use(chain, 1);
  device_.use(chain, 1);
  ASSERT_TRUE(queue_.take().has_value());
  EXPECT_EQ(queue_.take().status(), Status::corrupt);
}

TEST_F(VirtqueueTest, MoreUsedThanSubmittedBreaksTheQueue) {
  EXPECT_FALSE(queue_.take()->has_value());
  device_.set_index(1);
  EXPECT_EQ(queue_.take().status(), Status::corrupt);
}

TEST_F(VirtqueueTest, AnIndexThatJumpsBreaksTheQueue) {
  const u16 chain = *queue_.submit(request(1));
  queue_.publish();
  device_.use(chain, 1);
  device_.set_index(3);
  EXPECT_EQ(queue_.take().status(), Status::corrupt);
}

TEST_F(VirtqueueTest, ADescriptorTableThatTheDeviceScribblesOnLeadsNowhere) {
  const u16 chain = *queue_.submit(request(2));
  queue_.publish();
  std::memset(memory_.bytes, 0xff, kPageSize);
  device_.use(chain, 1);
  ASSERT_EQ((*queue_.take())->chain, chain);
  EXPECT_EQ(queue_.free(), kSize);
  EXPECT_TRUE(queue_.submit(request(6)).has_value());
}

}  // namespace
}  // namespace keel::virtio
