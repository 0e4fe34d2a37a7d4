#include "base/ring.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace keel {
namespace {

struct Entry {
  u64 number;
  u64 check;
  u32 extra[3];
};

class Shared {
 public:
  explicit Shared(u32 capacity) : bytes_(ring_bytes<Entry>(capacity)) {
    memory_ = static_cast<std::byte*>(::operator new(bytes_, std::align_val_t(64)));
    std::memset(static_cast<void*>(memory_), 0xee, bytes_);
    EXPECT_TRUE((format_ring<Entry>(memory(), capacity)).has_value());
  }
  ~Shared() { ::operator delete(memory_, std::align_val_t(64)); }
  std::span<std::byte> memory() { return {memory_, bytes_}; }
  RingHeader& header() { return *reinterpret_cast<RingHeader*>(memory_); }

 private:
  usize bytes_;
  std::byte* memory_;
};

Entry entry(u64 n) { return {n, ~n, {1, 2, 3}}; }

struct Pair {
  explicit Pair(Shared& shared, u32 capacity)
      : producer(*RingProducer<Entry>::attach(shared.memory(), capacity)),
        consumer(*RingConsumer<Entry>::attach(shared.memory(), capacity)) {}
  RingProducer<Entry> producer;
  RingConsumer<Entry> consumer;
};

TEST(Ring, AttachChecksItsArguments) {
  Shared shared(8);
  const auto memory = shared.memory();
  EXPECT_EQ(RingProducer<Entry>::attach(memory, 0).status(), Status::invalid_argument);
  EXPECT_EQ(RingProducer<Entry>::attach(memory, 6).status(), Status::invalid_argument);
  EXPECT_EQ(RingProducer<Entry>::attach(memory, 16).status(), Status::out_of_range);
  EXPECT_EQ(RingConsumer<Entry>::attach(memory, u32{1} << 31).status(), Status::invalid_argument);
  EXPECT_EQ(RingConsumer<Entry>::attach(memory.subspan(8), 4).status(), Status::misaligned);
}

TEST(Ring, IsFirstInFirstOutAndBounded) {
  Shared shared(4);
  Pair ring(shared, 4);
  Entry out;
  EXPECT_EQ(ring.consumer.pop(&out).status(), Status::would_block);
  for (u64 round = 0; round < 10; ++round) {
    for (u64 i = 0; i < 4; ++i) EXPECT_TRUE(ring.producer.push(entry(round * 4 + i)).has_value());
    EXPECT_EQ(ring.producer.push(entry(99)).status(), Status::would_block);
    EXPECT_EQ(*ring.consumer.available(), 4u);
    for (u64 i = 0; i < 4; ++i) {
      EXPECT_TRUE(ring.consumer.pop(&out).has_value());
      EXPECT_EQ(out.number, round * 4 + i);
    }
  }
}

TEST(Ring, BatchesMoveWhatFits) {
  Shared shared(4);
  Pair ring(shared, 4);
  std::vector<Entry> in = {entry(0), entry(1), entry(2), entry(3), entry(4), entry(5)};
  EXPECT_EQ(ring.producer.push_many(in)->count, 4u);
  EXPECT_EQ(ring.producer.push_many(in).status(), Status::would_block);
  EXPECT_EQ(ring.producer.push_many({})->count, 0u);
  std::vector<Entry> out(10);
  EXPECT_EQ(ring.consumer.pop_many(out)->count, 4u);
  EXPECT_EQ(out[3].number, 3u);
}

TEST(Ring, DoorbellIsNeededOnceForASleeper) {
  Shared shared(4);
  Pair ring(shared, 4);
  EXPECT_EQ(*ring.producer.push(entry(0)), Doorbell::not_needed);
  EXPECT_FALSE(*ring.consumer.prepare_to_sleep());  // something is there
  Entry out;
  EXPECT_TRUE(ring.consumer.pop(&out).has_value());
  EXPECT_TRUE(*ring.consumer.prepare_to_sleep());
  EXPECT_EQ(*ring.producer.push(entry(1)), Doorbell::needed);
  EXPECT_EQ(*ring.producer.push(entry(2)), Doorbell::not_needed);
  ring.consumer.awake();
  EXPECT_FALSE(*ring.producer.prepare_to_sleep());
  EXPECT_TRUE(ring.producer.push(entry(3)).has_value());
  EXPECT_TRUE(ring.producer.push(entry(4)).has_value());
  EXPECT_TRUE(*ring.producer.prepare_to_sleep());
  EXPECT_EQ(*ring.consumer.pop(&out), Doorbell::needed);
  EXPECT_EQ(*ring.consumer.pop(&out), Doorbell::not_needed);
}

TEST(Ring, NonsenseFromTheProducerIsCorruptForGood) {
  for (u32 tail : {5u, 100u, 0x80000000u, 0xffffffffu}) {
    Shared shared(4);
    Pair ring(shared, 4);
    shared.header().tail.store(tail, kSeqCst);
    Entry out;
    EXPECT_EQ(ring.consumer.pop(&out).status(), Status::corrupt);
    EXPECT_EQ(ring.consumer.prepare_to_sleep().status(), Status::corrupt);
    shared.header().tail.store(0, kSeqCst);
    EXPECT_EQ(ring.consumer.available().status(), Status::corrupt);
  }
}

TEST(Ring, AnIndexThatRunsBackwardsIsCorrupt) {
  Shared shared(4);
  Pair ring(shared, 4);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(ring.producer.push(entry(0)).has_value());
  EXPECT_EQ(*ring.consumer.available(), 3u);
  shared.header().tail.store(2, kSeqCst);
  EXPECT_EQ(ring.consumer.available().status(), Status::corrupt);
}

TEST(Ring, NonsenseFromTheConsumerIsCorruptForGood) {
  for (u32 head : {1u, 77u, 0x80000000u, 0xffffffffu}) {
    Shared shared(4);
    Pair ring(shared, 4);
    shared.header().head.store(head, kSeqCst);
    EXPECT_EQ(ring.producer.room().status(), Status::corrupt);
    EXPECT_EQ(ring.producer.push(entry(0)).status(), Status::corrupt);
  }
}

TEST(Ring, RandomHeaderValuesNeverLeadOutside) {
  Shared shared(8);
  u64 x = 12345;
  for (int round = 0; round < 20000; ++round) {
    Pair ring(shared, 8);
    for (int step = 0; step < 4; ++step) {
      x = x * 6364136223846793005u + 1442695040888963407u;
      shared.header().head.store(static_cast<u32>(x >> 32) >> (x % 32), kSeqCst);
      shared.header().tail.store(static_cast<u32>(x >> 20) >> (x % 31), kSeqCst);
      Entry out[3];
      (void)ring.producer.push(entry(0));
      (void)ring.consumer.pop_many(out);  // the sanitizer watches
    }
  }
}

// A doorbell made of a counter, so that no ring is lost.
class Bell {
 public:
  void ring() {
    std::lock_guard lock(mutex_);
    ++rings_;
    condition_.notify_one();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    const bool rung = condition_.wait_for(lock, std::chrono::seconds(20), [&] { return rings_ > 0; });
    ASSERT_TRUE(rung) << "a wake-up was lost";
    --rings_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  u64 rings_ = 0;
};

TEST(Ring, TwoThreadsExchangeEverythingInOrderAndWakeEachOther) {
  constexpr u64 kEntries = 200000;
  for (u32 capacity : {2u, 64u}) {
    Shared shared(capacity);
    Pair ring(shared, capacity);
    Bell consumer_bell;
    Bell producer_bell;
    std::thread producer([&] {
      for (u64 n = 0; n < kEntries;) {
        Result<Doorbell> pushed = ring.producer.push(entry(n));
        if (pushed.has_value()) {
          ++n;
          if (*pushed == Doorbell::needed) consumer_bell.ring();
        } else if (*ring.producer.prepare_to_sleep()) {
          producer_bell.wait();
          ring.producer.awake();
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    });
    u64 errors = 0;
    for (u64 n = 0; n < kEntries;) {
      Entry out;
      Result<Doorbell> popped = ring.consumer.pop(&out);
      if (popped.has_value()) {
        errors += out.number != n || out.check != ~n;
        ++n;
        if (*popped == Doorbell::needed) producer_bell.ring();
      } else if (*ring.consumer.prepare_to_sleep()) {
        consumer_bell.wait();
        ring.consumer.awake();
        if (testing::Test::HasFatalFailure()) break;
      }
    }
    producer.join();
    EXPECT_EQ(errors, 0u);
  }
}

}  // namespace
}  // namespace keel
