#include <arch/memory.h>
#include <arch/start.h>

#include "kernel/arch/x86_64/processor.h"
#include "kernel/core/machine.h"

namespace keel::arch {
namespace {

// SAFETY: constructed once, below, before anybody uses them; never destroyed.
alignas(Machine) constinit char machine_storage[sizeof(Machine)]{};
alignas(kPageSize) constinit char cpu_storage[sizeof(Cpu)]{};

}  // namespace

Machine& make_machine() { return *new (machine_storage) Machine(); }
Cpu& make_boot_cpu(Machine& machine) { return *new (cpu_storage) Cpu(machine, 0); }
Result<void> initialise_boot_processor(Cpu& cpu) { return set_up_boot_processor(cpu, image_address(cpu_storage)); }

}  // namespace keel::arch
