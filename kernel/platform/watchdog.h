// Watchdog: finds a CPU that takes no interrupts any more: each looks, some times in a timeout, whether the next one
// has looked. One that has not gets an unmaskable interrupt, and panics with its registers and its back trace.
//
// It sees nothing while all CPUs hang, so nothing on a machine with one.
//
// Locks        none. seen_ns_ is written by the CPU itself and read by the one before it.
// Costs        off: nothing. On: a timer interrupt of each CPU four times in a timeout, once a second at least.
// See          watchdog_test.cc
#pragma once

#include "kernel/core/cpu_set.h"
#include "kernel/platform/periodic.h"

namespace keel {

class Platform;

class Watchdog {
 public:
  explicit Watchdog(Platform& platform) : platform_(platform) {}
  // This CPU begins to watch, if the setting is on.
  void join(Cpu& cpu);
  // All CPUs do.
  void begin(Cpu& cpu);
  // An unmaskable interrupt has come: whether it is the watchdog's.
  bool take_alarm(const Cpu& cpu) { return watchers_[cpu.index].alarmed.exchange(false, kRelaxed); }

 private:
  class Watcher final : public Periodic {
   public:
    Watchdog* watchdog = nullptr;
    Atomic<u64> seen_ns{0};  // when it looked last; 0: it does not
    Atomic<bool> alarmed{false};

   private:
    bool wanted(Cpu& cpu) const override;
    u64 run(Cpu& cpu) override;
  };
  // Carries the news that the setting is on.
  class News final : public Work {
   public:
    Watchdog* watchdog = nullptr;
    Atomic<bool> on_its_way{false};
    bool step(Cpu&) override { return true; }
    void arrive(Cpu& cpu) override;
  };
  void check(Cpu& cpu, u64 now);

  Platform& platform_;
  Watcher watchers_[kMaxCpus];
  News news_[kMaxCpus];
};

}  // namespace keel
