#include "kernel/platform/scrubber.h"

#include <arch/integrity.h>
#include <arch/memory.h>

#include "kernel/core/machine.h"

namespace keel {
namespace {

constexpr usize kLine = 64;

// Whoever owns the page may be writing to it: what is read means nothing.
#ifdef KEEL_HOST
[[clang::no_sanitize("address", "thread")]]
#endif
void read_lines(const volatile u64* page) {
  for (usize i = 0; i < kPageSize / sizeof(u64); i += kLine / sizeof(u64)) (void)page[i];
}

}  // namespace

bool Scrubber::wanted(Cpu&) const { return platform_.config.is_on(Knob::ram_scrubber_enabled); }

u64 Scrubber::run(Cpu& cpu) {
  read_pages(cpu);
  look_at_free_memory(cpu);
  return kPagesPerStep * u64{1'000'000'000} / platform_.config.get(Knob::ram_scrubber_rate_pages_per_sec);
}

void Scrubber::read_pages(Cpu& cpu) {
  const std::span<const PhysRange> ram = cpu.machine.frames.ram();
  for (u32 i = 0; i < kPagesPerStep; ++i) {
    const PhysAddr page = ram[range_].base + page_ * kPageSize;
    if (arch::is_in_direct_map(page)) read_lines(static_cast<const volatile u64*>(phys_to_virt(page)));
    platform_.pages_read.fetch_add(1, kRelaxed);
    if (++page_ < ram[range_].bytes / kPageSize) continue;
    page_ = 0;
    if (++range_ < ram.size()) continue;
    range_ = 0;
    const u32 cpus = cpu.machine.cpu_count.load(kAcquire);
    return continue_at(*cpu.machine.cpus[(cpu.index + 1) % cpus]);
  }
}

void Scrubber::look_at_free_memory(Cpu& cpu) {
  ++step_;
  PhysAddr bad = cpu.machine.frames.take_spoilt(cpu, step_ % Magazines::kZeroed);
  if (bad.value == 0) bad = cpu.machine.heap.take_spoilt(cpu, step_ % Magazines::kClasses);
  if (bad.value == 0) return;
  platform_.bad_memory.fetch_add(1, kRelaxed);
  log_format(cpu, LogLevel::error, "memory: {:#x} is free and was changed; it is not used any more", bad.value);
}

}  // namespace keel
