// Start-up: from BootInfo to the first process.
#include <arch/early_console.h>
#include <arch/memory.h>
#include <arch/power.h>
#include <arch/start.h>

#include "kernel/core/entry.h"
#include "kernel/core/machine.h"
#include "kernel/platform/boot_info.h"
#include "kernel/platform/boot_options.h"
#include "kernel/platform/early.h"

namespace keel {
namespace {

// A boot that cannot go on says what failed and why, and ends.
[[noreturn]] void fail(const char* step, const char* why) {
  arch::early_console_write("Keel cannot start: ");
  arch::early_console_write(step);
  arch::early_console_write(": ");
  arch::early_console_write(why);
  arch::early_console_write("\n");
  arch::exit_emulator(arch::ExitReason::failure);
}

void check(const char* step, Result<void> result) {
  if (!result.has_value()) fail(step, status_name(result.status()));
}

}  // namespace

void kernel_main(BootInfo& boot) {
  if (const char* missing = arch::missing_cpu_feature()) fail("this CPU lacks", missing);
  arch::initialise_cpu_memory();
  EarlyAllocator early(boot);
  const bool randomise = !has_boot_option(boot.command_line(), "nokaslr");
  check("kernel page tables", arch::initialise_kernel_memory(boot, early, randomise));

  // The one machine of a kernel that runs on hardware, and its boot CPU; both live as long as it does.
  Machine& machine = arch::make_machine();
  Cpu& cpu = arch::make_boot_cpu(machine);
  machine.add_cpu(cpu);
  machine.attach(cpu);
  machine.boot_tsc = boot.entry_tsc;
  const MemoryLayout layout = memory_layout(boot, &early);
  check("memory", machine.frames.initialise({layout.ram, layout.ram_count}, {layout.in_use, layout.in_use_count}));
  check("machine", machine.initialise(cpu));
  machine.random.seed(cpu, boot.entropy);
  machine.sealer().initialise(cpu, machine.random);
  machine.trace_calls = boot_option(boot.command_line(), "trace") != "off";
  check("processor", arch::initialise_boot_processor(cpu));
  check("interrupts", arch::initialise_interrupts(cpu, boot));
  machine.clock.publish(*machine.time_page);
  if (const u64 wall = arch::read_wall_clock(); wall != 0)
    machine.time_page->wall_base_s = wall - cpu.now_ns() / 1'000'000'000;

  const auto s = machine.frames.statistics();
  log_format(cpu, LogLevel::notice, "Keel: {} MiB of memory, {} MiB free, {} of {} CPUs, slide {:#x}",
             boot.usable_bytes() >> 20, s.free * kPageSize >> 20, machine.cpu_count.load(kRelaxed),
             machine.present_cpus, boot.kernel_slide);
  if (has_boot_option(boot.command_line(), "selftest")) arch::exit_emulator(arch::ExitReason::success);
  check("service manager", machine.start_manager(cpu, boot));
  check("platform", machine.platform.start(cpu));
  if constexpr (kParanoidChecks) arch::prepare_sabotage(cpu, boot_option(boot.command_line(), "break").value_or(""));
  if (Result<void> started = arch::start_cpus(cpu); !started.has_value()) {
    log_format(cpu, LogLevel::warning, "not all CPUs can be started: {}", started.status());
  }
  arch::run(cpu, enter_first(cpu));
}

}  // namespace keel
