// Atomic<T>: the only atomic variable in Keel. Each access states its order and is a scheduling point of the
// deterministic simulator (law 10), through simulation_point().
#pragma once

#include <atomic>

#include "base/types.h"

namespace keel {

using Order = std::memory_order;
inline constexpr Order kRelaxed = std::memory_order_relaxed;
inline constexpr Order kAcquire = std::memory_order_acquire;
inline constexpr Order kRelease = std::memory_order_release;
inline constexpr Order kAcqRel = std::memory_order_acq_rel;
inline constexpr Order kSeqCst = std::memory_order_seq_cst;

#ifdef KEEL_SIMULATION
void simulation_point();
// Stores weaker than seq_cst may be seen by other CPUs later, in the order in which they were made, as long as no
// fence, exchange or sequentially consistent access of this CPU comes. True: the simulator makes the store when it is
// time.
bool simulation_store(void* at, u64 value, u32 size);
// True: this CPU has stored *value there, and others do not see it yet.
bool simulation_load(const void* at, u64* value);
void simulation_fence();
#else
inline void simulation_point() {}
inline bool simulation_store(void*, u64, u32) { return false; }
inline bool simulation_load(const void*, u64*) { return false; }
inline void simulation_fence() {}
#endif

inline void thread_fence(Order order) {
  simulation_point();
  if (order == kSeqCst) simulation_fence();
  std::atomic_thread_fence(order);
}

template <class T>
class Atomic {
 public:
  constexpr Atomic() = default;
  constexpr explicit Atomic(T value) : value_(value) {}
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  T load(Order order) const {
    simulation_point();
    if (u64 stored = 0; simulation_load(&value_, &stored)) return from_bits(stored);
    return value_.load(order);
  }
  void store(T value, Order order) {
    simulation_point();
    if (order == kSeqCst) {
      simulation_fence();
    } else if (simulation_store(&value_, to_bits(value), sizeof(T))) {
      return;
    }
    value_.store(value, order);
  }
  T exchange(T value, Order order) {
    simulation_point();
    simulation_fence();
    return value_.exchange(value, order);
  }
  T fetch_add(T value, Order order)
    requires std::is_integral_v<T>
  {
    simulation_point();
    simulation_fence();
    return value_.fetch_add(value, order);
  }
  T fetch_sub(T value, Order order)
    requires std::is_integral_v<T>
  {
    simulation_point();
    simulation_fence();
    return value_.fetch_sub(value, order);
  }
  T fetch_or(T value, Order order)
    requires std::is_integral_v<T>
  {
    simulation_point();
    simulation_fence();
    return value_.fetch_or(value, order);
  }
  T fetch_and(T value, Order order)
    requires std::is_integral_v<T>
  {
    simulation_point();
    simulation_fence();
    return value_.fetch_and(value, order);
  }
  // On failure *expected holds what was found.
  bool compare_exchange(T* expected, T desired, Order order) {
    simulation_point();
    simulation_fence();
    return value_.compare_exchange_strong(*expected, desired, order, fail_order(order));
  }

 private:
  static constexpr Order fail_order(Order order) {
    return order == kAcqRel ? kAcquire : order == kRelease ? kRelaxed : order;
  }
  static u64 to_bits(T value) {
    u64 bits = 0;
    __builtin_memcpy(&bits, &value, sizeof(T));
    return bits;
  }
  static T from_bits(u64 bits) {
    T value;
    __builtin_memcpy(&value, &bits, sizeof(T));
    return value;
  }
  std::atomic<T> value_{};
};

}  // namespace keel
