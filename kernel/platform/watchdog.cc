#include "kernel/platform/watchdog.h"

#include <arch/early_console.h>
#include <arch/integrity.h>

#include "kernel/core/machine.h"

namespace keel {

bool Watchdog::Watcher::wanted(Cpu&) const { return watchdog->platform_.config.is_on(Knob::watchdog_enabled); }

u64 Watchdog::Watcher::run(Cpu& cpu) {
  const u64 now = cpu.now_ns();
  seen_ns.store(now, kRelease);
  watchdog->check(cpu, now);
  const u64 wait = watchdog->platform_.config.get(Knob::watchdog_timeout_ms) * u64{250'000};
  return wait < kMaxWaitNs ? wait : kMaxWaitNs;
}

void Watchdog::News::arrive(Cpu& cpu) {
  on_its_way.store(false, kRelease);
  watchdog->join(cpu);
}

void Watchdog::join(Cpu& cpu) {
  Watcher& own = watchers_[cpu.index];
  own.watchdog = this;
  own.arm(cpu);
}

void Watchdog::begin(Cpu& cpu) {
  const u32 cpus = cpu.machine.cpu_count.load(kAcquire);
  for (u32 i = 0; i < cpus; ++i) {
    watchers_[i].seen_ns.store(0, kRelaxed);  // it has planned with what was set before
    news_[i].watchdog = this;
    if (!news_[i].on_its_way.exchange(true, kAcqRel)) cpu.send(*cpu.machine.cpus[i], news_[i]);
  }
}

void Watchdog::check(Cpu& cpu, u64 now) {
  const u32 cpus = cpu.machine.cpu_count.load(kAcquire);
  const u32 next = (cpu.index + 1) % cpus;
  Watcher& watched = watchers_[next];
  const u64 seen = watched.seen_ns.load(kAcquire);
  const u64 timeout_ns = platform_.config.get(Knob::watchdog_timeout_ms) * u64{1'000'000};
  if (next == cpu.index || seen == 0 || now < seen + timeout_ns || watched.alarmed.exchange(true, kRelaxed)) return;
  char line[96];  // not to the log, whose lock it may hold
  arch::early_console_write(
      format_to(line, "\nwatchdog: CPU {} has taken no interrupt for {} ms\n", next, (now - seen) / 1'000'000));
  arch::interrupt_unmaskably(*cpu.machine.cpus[next]);
}

}  // namespace keel
