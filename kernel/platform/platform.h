// Platform: the kernel's settings and what they turn on, of which a profile has all or a part (kernel/features.h).
//
// Invariants   I1 a setting whose mechanism this kernel lacks cannot be changed, and nothing is done for it.
// Locks        none here. Settings are changed by the first CPU (set()); counters are atomic.
// Lifetime     part of its Machine. Nothing runs before start().
// See          docs/subsystems/hardening.md, docs/adr/0010-hardening.md, platform_test.cc
#pragma once

#include <type_traits>

#include "kernel/platform/config.h"
#include "kernel/platform/message_checks.h"
#include "kernel/platform/scrubber.h"
#include "kernel/platform/text_hash.h"
#include "kernel/platform/watchdog.h"

namespace keel {

class Platform {
 public:
  Config config;
  // What was found and done, for config_read.
  Atomic<u64> bad_memory{0};
  Atomic<u64> bad_messages{0};
  Atomic<u64> pages_read{0};
  Atomic<u64> text_checks{0};
  bool spoil_messages = false;  // for tests: a message's ninth word changes on its way

  // The end of start-up: what the profile turns on begins. Errors: no_memory.
  Result<void> start(Cpu& boot_cpu);
  // A further CPU runs.
  void join(Cpu& cpu) { watchdog.join(cpu); }
  // Changes a setting, which Config::check() has allowed; answers what it was. On the first CPU.
  // Errors: not_supported (this processor cannot do it).
  Result<u32> set(Cpu& cpu, const KnobDescription& knob, u32 value);
  // A system call that named `capability` ends: one of so many is looked at. A broken invariant is a panic.
  void sample_invariants(Cpu& cpu, u64 capability);

  MessageChecks messages{*this};
  Watchdog watchdog{*this};

 private:
  struct Absent {
    explicit Absent(Platform&) {}
    Result<void> initialise(Cpu&) { return {}; }
    void arm(Cpu&) {}
  };
  template <bool Has, class Mechanism>
  using Optional = std::conditional_t<Has, Mechanism, Absent>;

  void apply(Cpu& cpu, Knob knob);

  Optional<kRamScrubber, Scrubber> scrubber_{*this};
  Optional<kHashKernelText, TextHash> text_hash_{*this};
  u32 until_sample_[kMaxCpus] = {};
};

}  // namespace keel
