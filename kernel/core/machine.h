// Machine: all kernel state hangs off one of these (law 10). On hardware there is one; tests and the simulator have
// many.
#pragma once

#include "abi/boot_image.h"
#include "abi/start_block.h"
#include "abi/types.h"
#include "base/intrusive_tree.h"
#include "kernel/cap/seal.h"
#include "kernel/core/clock.h"
#include "kernel/core/cpu.h"
#include "kernel/core/process.h"
#include "kernel/core/words.h"
#include "kernel/group/group.h"
#include "kernel/mm/fault_injector.h"
#include "kernel/mm/frames.h"
#include "kernel/mm/heap.h"
#include "kernel/object/interrupt.h"
#include "kernel/object/singletons.h"
#include "kernel/platform/boot_info.h"
#include "kernel/platform/platform.h"
#include "kernel/platform/random.h"
#include "kernel/trace/log.h"

namespace keel {

class Machine {
 public:
  Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // What exists once. The group comes first: it pays for everything.
  FrameAllocator frames;
  KernelHeap heap;
  FaultInjector faults;
  Clock clock;
  RandomGenerator random;
  Log log;
  WordTable words;
  Platform platform;
  InterruptTable interrupts;

  ResourceGroup& root_group() { return root_group_; }
  InterruptControl& interrupt_control() { return interrupt_control_; }
  IoPorts& io_ports() { return io_ports_; }
  KernelControl& kernel_control() { return kernel_control_; }
  Sealer& sealer() { return sealer_; }
  // Those in [0, known_cpus) are prepared, all before the first group is made, which has a queue on each. Those in
  // [0, cpu_count) run.
  Cpu* cpus[kMaxCpus] = {};
  u32 known_cpus = 0;
  Atomic<u32> cpu_count{0};
  u32 present_cpus = 1;  // that the firmware reports
  CpuSet busy;           // those that are not idle
  // How far the memory of nodes is from each other, as firmware has it (10: the own); all 0 when it does not say.
  static constexpr u32 kMaxNodes = 16;
  u8 distances[kMaxNodes][kMaxNodes] = {};
  Orphanage orphans;
  u64 next_id() { return next_id_.fetch_add(1, kRelaxed); }

  // What an absent chunk of a capability space points to: slots that are never live.
  CapSlot* empty_chunk() { return empty_chunk_; }
  void add_cpu(Cpu& cpu) { cpus[known_cpus++] = &cpu; }
  // The CPU runs from now on. In the order of their numbers.
  void attach(Cpu& cpu);
  // Takes what the machine itself needs; frames and heap work already. Errors: no_memory.
  Result<void> initialise(Cpu& boot_cpu);

  // Starts the first process, the service manager, from the boot image. Errors: not_found (no boot module), corrupt,
  // version_mismatch, no_memory.
  Result<void> start_manager(Cpu& cpu, const BootInfo& boot);
  // Gives the dead manager, whose address space is torn down, a successor: the same capability space, a fresh address
  // space. It is given up when it has died too often.
  void restart_manager(Cpu& cpu, Process& manager);

  void add_process(Cpu& cpu, Process& process);
  void remove_process(Cpu& cpu, Process& process);
  // The process with the lowest number above `after`, or null; a borrow.
  Process* next_process(Cpu& cpu, u64 after);
  // The process with that number, or null; a borrow likewise.
  Process* find_process(Cpu& cpu, u64 id);
  u32 process_count() const { return process_count_.load(kRelaxed); }
  u32 thread_count() const { return thread_count_.load(kRelaxed); }
  void count_thread(i32 change) { thread_count_.fetch_add(u32(change), kRelaxed); }

  bool trace_calls = true;  // whether calls on the fast paths are recorded; before the processors are set up
  u64 boot_tsc = 0;         // at the kernel's first instruction
  u64 first_user_tsc = 0;   // when the first user thread was started
  TimePage* time_page = nullptr;
  PhysAddr time_page_address;
  std::span<const std::byte> symbols;  // BootSymbols of the boot image, for panics; as untrusted as it came

 private:
  Result<void> load_manager(Cpu& cpu, Process& manager);
  Result<void> grant_manager(Cpu& cpu, Process& manager, const BootInfo& boot);
  Result<void> copy_segment(Cpu& cpu, MemoryObject& memory, const BootSegment& segment);

  Atomic<u64> next_id_{1};
  ResourceGroup root_group_;
  InterruptControl interrupt_control_;
  IoPorts io_ports_;
  KernelControl kernel_control_;
  Sealer sealer_;
  alignas(2 * sizeof(CapSlot)) CapSlot empty_chunk_[CapSpace::kSlotsPerChunk];

  SpinLock lock_{LockRank::process_list, "processes"};
  IntrusiveTree<Process, &Process::list_hook, Process::ById> processes_ GUARDED_BY(lock_);
  Atomic<u32> process_count_{0};
  Atomic<u32> thread_count_{0};

  struct Manager {
    BootModule module;
    BootImageHeader image;
    StartCapability capabilities[16];
    u32 capability_count = 0;
    PhysAddr rsdp;
    u64 test = 0;  // the boot option of that name, for test programs in the manager's place
    CapIndex thread;
    CapIndex space;
    u32 restarts = 0;
    u32 restarts_in_window = 0;
    u64 first_restart_ns = 0;
  };
  Manager manager_;
  friend class Process;
};

inline bool Grace::is_over_after(const Cpu& cpu) const {
  return !under_way_ && !cpu.machine.busy.has_others_than(cpu.index);
}
inline bool Grace::is_over(const Cpu& cpu) const {
  thread_fence(kSeqCst);  // what was unlinked is seen by whoever becomes busy after we looked
  return is_over_after(cpu);
}

}  // namespace keel
