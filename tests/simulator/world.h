// World: the real kernel on several simulated CPUs, with user programs that the scenarios give to its threads. What
// happens is decided by (scenario, number of CPUs, seed) alone.
#pragma once

#include <cstdio>
#include <functional>
#include <map>
#include <vector>

#include "abi/calls.h"
#include "kernel/arch/host/simulation.h"
#include "kernel/core/entry.h"
#include "kernel/core/machine.h"
#include "kernel/ipc/port.h"
#include "kernel/object/notification.h"
#include "kernel/object/reply.h"
#include "kernel/object/timer.h"
#include "kernel/syscall/objects.h"

namespace keel::simulator {

// What a thread has after a call.
struct Answer {
  bool first = false;  // it has just started: nothing was asked yet
  Status status = Status::ok;
  Descriptor descriptor;
  u64 badge = 0;
  u64 word[kRegisterWords] = {};
};

// What a thread does next.
struct Act {
  Call call = Call::yield;
  CapIndex capability;
  std::vector<u64> words;
  u64 descriptor = 0;
  bool compute = false;  // only passes time
  u64 compute_ns = 0;    // so much of it, on all CPUs
  bool fault = false;    // writes to `fault_at`, which does not let it, or touches what is not there
  u64 fault_at = 0;
};

inline Act compute(u64 ns = 0) {
  Act act;
  act.compute = true;
  act.compute_ns = ns;
  return act;
}
inline Act ask(Call call, CapIndex capability = kNoCapability, std::vector<u64> words = {}, u64 descriptor = 0) {
  return {call, capability, std::move(words), descriptor};
}
inline Act fault(u64 at = 0) {
  Act act;
  act.fault = true;
  act.fault_at = at;
  return act;
}
inline Act leave() { return ask(Call::thread_exit); }

using Program = std::function<Act(Thread& self, const Answer& last)>;

class World final : public arch::Simulation::Body {
 public:
  // Steady: nothing but what programs do takes time or accesses, whatever the seed.
  enum class Mode { random, steady };
  World(u32 cpus, u64 seed, Mode mode = Mode::random);
  ~World() override;

  // --- Making things, before run() or from programs
  Process& process() { return process(machine_->root_group()); }
  Process& process(ResourceGroup& group);
  // `pin`: it stays on that CPU.
  Thread& thread(Process& process, u32 level, Program program, Cpu* pin = nullptr);
  // Some CPU to pin a thread to, or, as often, none.
  Cpu* perhaps_pinned() { return chance(2) ? cpus_[random(cpus())].get() : nullptr; }
  // The program of a thread that somebody made by a call.
  void give_program(Thread& thread, Program program) { programs_[thread.id()] = std::move(program); }
  template <class T>
  CapIndex give(Process& to, T& object, u64 scope = 0) {
    return MUST(to.caps.insert_root(now_on(), object, all_rights(object.kind()), scope));
  }
  CapIndex copy(Process& from, CapIndex source, Process& to, Rights rights, u64 scope = 0);
  template <class T>
  RefPtr<T> make() {
    return MUST(T::create(now_on(), machine_->root_group()));
  }
  RefPtr<Port> make_port(u32 queue) { return MUST(Port::create(now_on(), machine_->root_group(), queue)); }
  // Nobody holds it any more when the scenario is over.
  void keep(std::function<void()> drop) { drops_.push_back(std::move(drop)); }

  // Runs until nothing happens any more; then the scenario may look, and ends everything; the machine is as before.
  void run();
  void finish();

  Machine& machine() { return *machine_; }
  Cpu& cpu(u32 i) { return *cpus_[i]; }
  u32 cpus() const { return u32(cpus_.size()); }
  arch::Simulation& simulation() { return simulation_; }
  u64 random(u64 below) { return simulation_.below(below); }
  bool chance(u64 of) { return random(of) == 0; }
  u64 now() const { return now_; }
  u64 entries() const { return entries_; }
  u64 kernel_points() const { return kernel_points_; }  // accesses that the kernel made for programs
  Cpu& now_on();                                        // the CPU whose code runs, or the first
  [[noreturn]] void fail(const char* what);
  template <class... A>
  static void say(const char* format, A... values) {
    std::fprintf(stderr, format, static_cast<unsigned long long>(values)...);
    std::fputc('\n', stderr);
  }

  // What to print when something breaks.
  static const char* banner;
  static bool trace;

 private:
  void run_cpu(u32 index) override;
  bool is_awake(u32 index) override;
  bool all_asleep() override;
  void user(Cpu& cpu, Thread& thread);
  void enter(Cpu& cpu, Thread& thread);
  void check_all();
  struct Baseline {
    u64 free, kernel, user, page_table, frames, bytes;
    bool operator==(const Baseline&) const = default;
  };
  Baseline baseline();

  static constexpr u64 kCallSite = 0x40'0000;
  static constexpr u64 kStart = 0x50'0000;
  static constexpr u64 kNowhere = 0x1000;
  static constexpr u64 kBytes = 24 << 20;
  static constexpr u64 kBytesPerCpu = 128 << 10;  // beyond those of the first few
  static constexpr u64 kMostEntries = 200'000;
  static constexpr u32 kFewCpus = 8;
  u64 scale() const { return 1 + cpus() / kFewCpus; }

  const u64 bytes_;
  const Mode mode_;
  char* memory_;
  std::unique_ptr<Machine> machine_;
  std::vector<std::unique_ptr<Cpu>> cpus_;
  arch::Simulation simulation_;
  std::map<u64, Program> programs_;
  std::vector<RefPtr<Process>> processes_;
  std::vector<RefPtr<Thread>> threads_;
  std::vector<std::function<void()>> drops_;
  Baseline before_{};
  u64 now_ = 1000;
  u64 entries_ = 0;
  u64 kernel_points_ = 0;
};

// A scenario makes its world's threads; what it returns looks at the world when nothing happens any more.
struct Scenario {
  const char* name;
  std::function<void()> (*set_up)(World& world);
};
extern const Scenario kScenarios[];
extern const u32 kScenarioCount;

}  // namespace keel::simulator
