#include <arch/context.h>
#include <arch/integrity.h>
#include <arch/start.h>

#include "kernel/core/machine.h"

namespace keel::arch {
namespace {

constexpr u64 kDelayNs = 500'000'000;  // user space and all CPUs run by then

// Volatile, so that the compiler neither sees nor removes what goes wrong.
constinit volatile u32 too_many = 64;
[[gnu::noinline]] void overrun() {
  volatile char room[16];
  for (u32 i = 0; i < too_many; ++i) room[i] = 'x';
}

class Sabotage final : public TimerEntry {
 public:
  std::string_view what;

 private:
  void expired(Cpu& cpu) override {
    Machine& machine = cpu.machine;
    if (what == "canary") overrun();
    if (what == "text") change_constant(2 * kPageSize + 5);
    if (what == "memory") machine.frames.spoil_zeroed(cpu);
    if (what == "invariant") {
      machine.next_process(cpu, 0)->for_each_thread(cpu, ~u32{0}, [&](Thread& t) { cpu.scheduler.spoil(t); });
    }
    if (what == "hang") {
      for (;;) relax();
    }
  }
};
// SAFETY: constructed once, in prepare_sabotage(), and never destroyed.
alignas(Sabotage) constinit char storage[sizeof(Sabotage)]{};

}  // namespace

void prepare_sabotage(Cpu& cpu, std::string_view what) {
  if (what.empty()) return;
  Platform& platform = cpu.machine.platform;
  // What must notice is on, and quick.
  for (const KnobDescription& k : kKnobs) {
    const bool message = k.knob == Knob::msg_header_checks_enabled || k.knob == Knob::msg_payload_crc_enabled;
    if (!message) (void)platform.set(cpu, k, k.weaker_when_lower ? k.maximum : k.minimum);
  }
  for (const KnobDescription& k : kKnobs) {
    if (k.knob == Knob::watchdog_timeout_ms) (void)platform.set(cpu, k, 2000);  // the emulator's host may be busy
  }
  Sabotage& sabotage = *new (storage) Sabotage();
  sabotage.what = what;
  cpu.timers.add(cpu, sabotage, Deadline(cpu.now_ns() + kDelayNs));
}

}  // namespace keel::arch
