// Ring: a queue of fixed-size entries in memory shared by one producer and one consumer that do not trust each other.
//
// Layout       RingHeader (4 cache lines), then `capacity` entries of T; capacity is a power of two. head and tail run
//              freely modulo 2^32; the entry of index i stands at slot i mod capacity. tail - head entries are queued.
//              The creator zeroes the header (format_ring) before the memory reaches the second side.
// Trust        Each side keeps its own index in private memory and only ever writes it to the shared word. The peer's
//              index is read once per operation and accepted only if it lies between its last accepted value and what
//              this side allows; else Status::corrupt, for good. So a hostile peer can lose or garble entries, never
//              lead an access outside the memory. An entry is copied out once, before anyone looks at it; what it
//              says must be validated by the caller, as any message.
// Sleeping     Announce, then recheck. A side that finds nothing to do calls prepare_to_sleep(): it sets its sleeping
//              flag and then looks at the peer's index once more; true means it may now wait for the doorbell. The
//              peer publishes its index and then looks at the flag. All four accesses are seq_cst, so at least one of
//              the two sees the other's write: no wake-up is lost. Whoever finds the flag set clears it and rings:
//              one doorbell for one sleep. A doorbell may come late or without need; after any wake-up call awake().
// Orders       publishing an index is a release of the entries before it and pairs with the acquire of the peer's
//              load; both are seq_cst for the reason above.
// Locks        none: one thread per side at a time.
// Costs        push/pop: one copy, one seq_cst store, one load of the peer's flag; the peer's index is read only when
//              the cached one does not suffice. Batches pay this once for all their entries.
// See          L. Lamport, "Specifying Concurrent Program Modules", TOPLAS 5(2), 1983 (the one-writer-per-index queue);
//              ring_test.cc
#pragma once

#include <cstring>
#include <span>
#include <type_traits>

#include "base/atomic.h"
#include "base/result.h"
#include "base/types.h"

namespace keel {

inline constexpr usize kCacheLineBytes = 64;

// Each word on its own cache line: a side that polls one does not slow the writer of another.
struct RingHeader {
  alignas(kCacheLineBytes) Atomic<u32> head;  // next entry to take; written by the consumer
  alignas(kCacheLineBytes) Atomic<u32> tail;  // next entry to fill; written by the producer
  alignas(kCacheLineBytes) Atomic<u32> consumer_sleeping;
  alignas(kCacheLineBytes) Atomic<u32> producer_sleeping;
};
static_assert(sizeof(RingHeader) == 4 * kCacheLineBytes);

// Whether the caller must wake the peer now.
enum class Doorbell : u8 { not_needed, needed };

struct RingBatch {
  u32 count = 0;  // entries moved
  Doorbell doorbell = Doorbell::not_needed;
};

// Bytes of shared memory that a ring takes. `capacity` is at most 2^24.
template <class T>
constexpr usize ring_bytes(u32 capacity) {
  return sizeof(RingHeader) + usize{capacity} * sizeof(T);
}

namespace ring_detail {

inline constexpr u32 kMaxCapacity = u32{1} << 24;

template <class T>
Result<RingHeader*> header_of(std::span<std::byte> memory, u32 capacity) {
  static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= kCacheLineBytes);
  if (capacity == 0 || capacity > kMaxCapacity || (capacity & (capacity - 1)) != 0) return Status::invalid_argument;
  if (!is_aligned(reinterpret_cast<usize>(memory.data()), kCacheLineBytes)) return Status::misaligned;
  if (memory.size() < ring_bytes<T>(capacity)) return Status::out_of_range;
  return reinterpret_cast<RingHeader*>(memory.data());
}

// Keeps the compiler from reading a shared entry a second time after its copy was checked.
inline void forget_shared_memory() { std::atomic_signal_fence(std::memory_order_seq_cst); }

// After publishing our index: does the peer wait for it? seq_cst pairs with announce() of the peer.
inline Doorbell doorbell_for(Atomic<u32>& peer_sleeping) {
  if (peer_sleeping.load(kSeqCst) == 0) return Doorbell::not_needed;
  return peer_sleeping.exchange(0, kSeqCst) != 0 ? Doorbell::needed : Doorbell::not_needed;
}

}  // namespace ring_detail

// Makes an empty ring of `capacity` entries. Before either side attaches.
template <class T>
Result<void> format_ring(std::span<std::byte> memory, u32 capacity) {
  RingHeader* header = TRY(ring_detail::header_of<T>(memory, capacity));
  header->head.store(0, kRelaxed);
  header->tail.store(0, kRelaxed);
  header->consumer_sleeping.store(0, kRelaxed);
  header->producer_sleeping.store(0, kSeqCst);
  return {};
}

template <class T>
class RingProducer {
 public:
  RingProducer() = default;

  // To a ring that was just formatted. Errors: invalid_argument (capacity), misaligned (64 bytes), out_of_range.
  static Result<RingProducer> attach(std::span<std::byte> memory, u32 capacity) {
    RingHeader* header = TRY(ring_detail::header_of<T>(memory, capacity));
    return RingProducer(header, capacity);
  }

  // Entries that fit now. Errors: corrupt.
  Result<u32> room() {
    TRY(refresh());
    return capacity_ - (tail_ - head_);
  }

  // Errors: would_block (full), corrupt (the consumer's index is nonsense).
  Result<Doorbell> push(const T& entry) {
    const RingBatch batch = TRY(push_many(std::span<const T>(&entry, 1)));
    return batch.doorbell;
  }

  // As many of `entries` as fit, from the first on. Errors: would_block if there are some and none fits; corrupt.
  Result<RingBatch> push_many(std::span<const T> entries) {
    if (broken_) return Status::corrupt;
    if (entries.empty()) return RingBatch{};
    if (entries.size() > capacity_ - (tail_ - head_)) TRY(refresh());
    const u32 room = capacity_ - (tail_ - head_);
    if (room == 0) return Status::would_block;
    const u32 count = entries.size() < room ? static_cast<u32>(entries.size()) : room;
    for (u32 i = 0; i < count; ++i) {
      std::memcpy(slot(tail_ + i), &entries[i], sizeof(T));
    }
    tail_ += count;
    header_->tail.store(tail_, kSeqCst);  // pairs with RingConsumer::refresh() and prepare_to_sleep()
    return RingBatch{count, ring_detail::doorbell_for(header_->consumer_sleeping)};
  }

  // True: the ring is full and the consumer will ring. False: there is room again, do not wait. Errors: corrupt.
  Result<bool> prepare_to_sleep() {
    header_->producer_sleeping.store(1, kSeqCst);
    const Result<void> seen = refresh();
    if (!seen.has_value() || tail_ - head_ != capacity_) {
      awake();
      if (!seen.has_value()) return seen.error();
      return false;
    }
    return true;
  }
  void awake() { header_->producer_sleeping.store(0, kSeqCst); }

 private:
  RingProducer(RingHeader* header, u32 capacity) : header_(header), capacity_(capacity) {}

  Result<void> refresh() {
    if (broken_) return Status::corrupt;
    const u32 head = header_->head.load(kSeqCst);  // pairs with the store in RingConsumer::pop_many()
    if (tail_ - head > tail_ - head_) {            // behind what it was, or beyond our tail
      broken_ = true;
      return Status::corrupt;
    }
    head_ = head;
    return {};
  }
  std::byte* slot(u32 index) {
    return reinterpret_cast<std::byte*>(header_ + 1) + usize{index & (capacity_ - 1)} * sizeof(T);
  }

  RingHeader* header_ = nullptr;
  u32 capacity_ = 0;
  u32 tail_ = 0;  // ours: never read back from shared memory
  u32 head_ = 0;  // the last accepted value; tail_ - head_ <= capacity_ always
  bool broken_ = false;
};

template <class T>
class RingConsumer {
 public:
  RingConsumer() = default;

  // As RingProducer::attach().
  static Result<RingConsumer> attach(std::span<std::byte> memory, u32 capacity) {
    RingHeader* header = TRY(ring_detail::header_of<T>(memory, capacity));
    return RingConsumer(header, capacity);
  }

  // Entries waiting now. Errors: corrupt.
  Result<u32> available() {
    TRY(refresh());
    return tail_ - head_;
  }

  // Errors: would_block (empty), corrupt (the producer's index is nonsense).
  Result<Doorbell> pop(T* entry) {
    const RingBatch batch = TRY(pop_many(std::span<T>(entry, 1)));
    return batch.doorbell;
  }

  // Up to entries.size(), oldest first. Errors: would_block if room was given and nothing waits; corrupt.
  Result<RingBatch> pop_many(std::span<T> entries) {
    if (broken_) return Status::corrupt;
    if (entries.empty()) return RingBatch{};
    if (entries.size() > tail_ - head_) TRY(refresh());
    const u32 waiting = tail_ - head_;
    if (waiting == 0) return Status::would_block;
    const u32 count = entries.size() < waiting ? static_cast<u32>(entries.size()) : waiting;
    for (u32 i = 0; i < count; ++i) {
      std::memcpy(&entries[i], slot(head_ + i), sizeof(T));
    }
    ring_detail::forget_shared_memory();
    head_ += count;
    header_->head.store(head_, kSeqCst);  // pairs with RingProducer::refresh() and prepare_to_sleep()
    return RingBatch{count, ring_detail::doorbell_for(header_->producer_sleeping)};
  }

  // True: the ring is empty and the producer will ring. False: something has come, do not wait. Errors: corrupt.
  Result<bool> prepare_to_sleep() {
    header_->consumer_sleeping.store(1, kSeqCst);
    const Result<void> seen = refresh();
    if (!seen.has_value() || tail_ != head_) {
      awake();
      if (!seen.has_value()) return seen.error();
      return false;
    }
    return true;
  }
  void awake() { header_->consumer_sleeping.store(0, kSeqCst); }

 private:
  RingConsumer(RingHeader* header, u32 capacity) : header_(header), capacity_(capacity) {}

  Result<void> refresh() {
    if (broken_) return Status::corrupt;
    const u32 tail = header_->tail.load(kSeqCst);  // pairs with the store in RingProducer::push_many()
    const u32 waiting = tail - head_;
    if (waiting > capacity_ || waiting < tail_ - head_) {  // more than fits, or behind what it was
      broken_ = true;
      return Status::corrupt;
    }
    tail_ = tail;
    return {};
  }
  const std::byte* slot(u32 index) const {
    return reinterpret_cast<const std::byte*>(header_ + 1) + usize{index & (capacity_ - 1)} * sizeof(T);
  }

  RingHeader* header_ = nullptr;
  u32 capacity_ = 0;
  u32 head_ = 0;  // ours: never read back from shared memory
  u32 tail_ = 0;  // the last accepted value; tail_ - head_ <= capacity_ always
  bool broken_ = false;
};

}  // namespace keel
