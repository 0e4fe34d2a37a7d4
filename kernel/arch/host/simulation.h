// Simulation: several CPUs in one host thread, each a fiber of its own. Every Atomic access, lock and interrupt is a
// point where another CPU may go on; which one, and when, is decided by a seed alone, so that a run can be repeated
// exactly.
//
// Stores that are not sequentially consistent may wait in a store buffer, one a CPU and in order, and are forwarded to
// their own CPU's loads: total store order, as on x86.
//
// Locks        none: one host thread.
// Costs        a point without a switch: about 10 instructions. A switch: about 30.
// See          base/atomic.h, docs/subsystems/simulator.md
#pragma once

#include <memory>
#include <vector>

#include "base/types.h"

namespace keel::arch {

class Simulation {
 public:
  // Runs on the fiber of each CPU. When it returns the CPU is gone for good.
  class Body {
   public:
    virtual ~Body() = default;
    virtual void run_cpu(u32 cpu) = 0;
    // Whether a CPU that waits in park() has something to do.
    virtual bool is_awake(u32 cpu) = 0;
    // Every CPU is parked and none is awake. True: something happened (time passed); false: it is over.
    virtual bool all_asleep() = 0;
  };

  Simulation(u32 cpus, u64 seed, Body& body);
  ~Simulation();
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  // Until all_asleep() says false, or a CPU calls stop().
  void run();
  // For fibers: gives way until is_awake().
  void park();
  void give_way();
  void point();
  bool store(void* at, u64 value, u32 size);
  bool load(const void* at, u64* value) const;
  void fence();

  u64 random();
  u64 below(u64 n) { return random() % n; }
  u64 points() const;
  u64 points_here() const { return fibers_[current_].points; }  // of the CPU that runs
  u32 current() const { return current_; }
  bool in_fiber() const { return current_ != kNobody; }

  // The one that runs in this host thread, or null.
  static Simulation* active;

 private:
  static constexpr u32 kNobody = ~u32{0};
  static constexpr usize kStackBytes = 256 * 1024;
  struct Store {
    void* at;
    u64 value;
    u32 size;
  };
  struct Fiber {
    u64 stack_pointer = 0;
    char* stack = nullptr;
    bool parked = false;
    bool finished = false;
    u64 points = 0;
    std::vector<Store> stores;
    void* sanitizer = nullptr;
  };
  static void first_code();
  void switch_to(u32 next);
  void drain(Fiber& fiber, usize count);
  u32 pick();

  std::vector<Fiber> fibers_;
  Body& body_;
  u64 state_;
  u64 until_switch_ = 1;
  u64 mean_gap_;
  u32 delay_of_eight_;  // stores out of eight that wait in the buffer
  u32 current_ = kNobody;
  u64 main_stack_pointer_ = 0;
  // For AddressSanitizer, which wants to know of each stack.
  [[maybe_unused]] void* main_sanitizer_ = nullptr;
  [[maybe_unused]] const void* main_stack_ = nullptr;
  [[maybe_unused]] usize main_stack_bytes_ = 0;
};

}  // namespace keel::arch
