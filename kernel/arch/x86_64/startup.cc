// Starting the other CPUs, while user space is starting on the first: INIT, later a startup IPI, 200 us later another
// for those that did not hear the first (Intel SDM vol. 3A, 8.4.4.1). They find their way through startup.S.
#include <arch/context.h>
#include <arch/memory.h>
#include <arch/page_table.h>
#include <arch/start.h>

#include "kernel/arch/x86_64/instructions.h"
#include "kernel/arch/x86_64/offsets.h"
#include "kernel/arch/x86_64/processor.h"
#include "kernel/core/entry.h"
#include "kernel/core/machine.h"

#define HIDDEN [[gnu::visibility("hidden")]]
extern "C" {
HIDDEN extern const char startup_code[], startup_code_end[], startup_entry[];
HIDDEN extern char startup_high[];
// The further CPUs in the order in which they are numbered; whoever comes takes the next (startup.S).
HIDDEN constinit keel::Cpu* startup_cpus[keel::kMaxCpus]{};
HIDDEN constinit keel::u32 startup_taken = 0;
HIDDEN constinit keel::u64 startup_root = 0;
HIDDEN [[noreturn]] void startup_cpu(keel::Cpu& cpu);
}

namespace keel::arch {
namespace {

constexpr u64 kInitWaitNs = 10'000'000;
// Unless somebody asks before. It is for the device manager to look at the buses alone: where the addresses of devices
// change while other CPUs use theirs, QEMU before 8.1 loses accesses (docs/subsystems/multiprocessor.md, "The
// emulator").
constexpr u64 kPatienceNs = 500'000'000;
constexpr u64 kStartupWaitNs = 200'000;
constexpr u64 kAnswerWaitNs = 5'000'000'000;  // emulated CPUs share a real one

// Sends the IPIs when their times come, then looks who has not come.
class Starter final : public TimerEntry {
 public:
  u32 apic_ids[kMaxCpus] = {};
  u32 count = 0;  // CPUs to start

  void begin(Cpu& cpu) {
    for (u32 i = 0; i < count; ++i) send_init(apic_ids[i]);
    earliest_ns_ = cpu.now_ns() + kInitWaitNs;
    cpu.timers.add(cpu, *this, Deadline(cpu.now_ns() + kPatienceNs));
  }
  void hasten(Cpu& cpu) {
    if (sent_ != 0 || !is_queued()) return;
    TimerQueue::remove(cpu, *this);
    cpu.timers.add(cpu, *this, Deadline(earliest_ns_));
  }
  void expired(Cpu& cpu) override {
    if (cpu.machine.cpu_count.load(kAcquire) == count + 1) return;
    if (sent_ == 2) return name_missing(cpu);
    for (u32 i = 0; i < count; ++i) send_startup(apic_ids[i], STARTUP_PAGE / kPageSize);
    cpu.timers.add(cpu, *this, Deadline(cpu.now_ns() + (++sent_ == 1 ? kStartupWaitNs : kAnswerWaitNs)));
  }

 private:
  void name_missing(Cpu& cpu) {
    Machine& machine = cpu.machine;
    const u32 running = machine.cpu_count.load(kAcquire);
    for (u32 i = 0; i < count; ++i) {
      bool runs = false;
      for (u32 n = 0; n < running; ++n) runs = runs || machine.cpus[n]->arch.apic_id == apic_ids[i];
      if (!runs) log_format(cpu, LogLevel::warning, "the CPU with APIC id {} does not answer", apic_ids[i]);
    }
    log_format(cpu, LogLevel::notice, "{} of {} CPUs run", running, machine.present_cpus);
  }

  u32 sent_ = 0;
  u64 earliest_ns_ = 0;
};
// SAFETY: constructed once, in start_other_cpus(), and never destroyed.
alignas(Starter) constinit char starter_storage[sizeof(Starter)]{};
constinit Starter* the_starter = nullptr;

// SAFETY: a page of the first MiB, which belongs to nobody else (kernel/platform/early.cc).
template <class T>
T* startup_page(u32 index) {
  return static_cast<T*>(phys_to_virt(PhysAddr(STARTUP_PAGE + index * kPageSize)));
}

void write_startup_pages() {
  auto* code = startup_page<char>(0);
  const usize bytes = usize(startup_code_end - startup_code);
  for (usize i = 0; i < bytes; ++i) code[i] = startup_code[i];
  // SAFETY: addresses as numbers, written where startup.S reads them; aligned to 8.
  *reinterpret_cast<u64*>(code + (startup_entry - startup_code)) = reinterpret_cast<u64>(startup_high);
  for (u32 i = 1; i < 4; ++i) zero_page(startup_page<char>(i));
  auto* root = startup_page<PageEntry>(1);
  copy_kernel_half(root);
  constexpr PageEntry kTable = page::kPresent | page::kWritable;
  root[0] = (STARTUP_PAGE + 2 * kPageSize) | kTable;
  startup_page<PageEntry>(2)[0] = (STARTUP_PAGE + 3 * kPageSize) | kTable;
  startup_page<PageEntry>(3)[0] = kTable | page::kLarge;  // the first 2 MiB, one to one
}

// A Cpu with its stacks and tables, in frames of its own.
Result<Cpu*> make_cpu(Cpu& boot_cpu, u32 index) {
  Machine& machine = boot_cpu.machine;
  u32 order = 0;
  while ((kPageSize << order) < sizeof(Cpu)) ++order;
  Frame* frames = TRY(machine.frames.allocate(boot_cpu, machine.root_group(), order));
  const PhysAddr address = machine.frames.address(frames);
  auto* cpu = new (phys_to_virt(address)) Cpu(machine, index);
  TRY(prepare_processor(boot_cpu, *cpu, address));
  machine.add_cpu(*cpu);
  return cpu;
}

}  // namespace

Result<void> start_other_cpus(Cpu& boot_cpu, std::span<const u32> apic_ids) {
  Starter& starter = *new (starter_storage) Starter();
  the_starter = &starter;
  for (u32 id : apic_ids) {
    if (id == local_apic_id() || starter.count + 1 == kMaxCpus) continue;
    startup_cpus[starter.count] = TRY(make_cpu(boot_cpu, starter.count + 1));
    starter.apic_ids[starter.count++] = id;
  }
  if (starter.count == 0) return {};
  startup_root = kernel_root().value;
  write_startup_pages();
  starter.begin(boot_cpu);
  return {};
}

void hasten_cpus(Cpu& boot_cpu) {
  if (the_starter != nullptr) the_starter->hasten(boot_cpu);
}

}  // namespace keel::arch

using namespace keel;

void startup_cpu(Cpu& cpu) {
  arch::initialise_cpu_memory();
  arch::load_processor(cpu);
  arch::enable_local_apic(cpu);
  // Numbers are given out before CPUs are ready: they join in order.
  Machine& machine = cpu.machine;
  while (machine.cpu_count.load(kAcquire) != cpu.index) arch::relax();
  machine.attach(cpu);
  machine.platform.join(cpu);
  if (cpu.index + 1 == machine.present_cpus) {
    log_format(cpu, LogLevel::notice, "{} CPUs run", machine.present_cpus);
  }
  arch::run(cpu, enter_first(cpu));
}
