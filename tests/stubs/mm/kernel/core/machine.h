// What kernel/mm, kernel/group, kernel/cap and kernel/object need of a Machine, until the real one lands.
#pragma once
#include "kernel/core/cpu.h"
#include "kernel/group/group.h"
#include "kernel/mm/fault_injector.h"
#include "kernel/mm/frames.h"
#include "kernel/mm/heap.h"
namespace keel {
struct CapSlot;
class Machine {
 public:
  Machine() : root_(*this, nullptr) {}
  ResourceGroup& root_group() { return root_; }
  Cpu& work_cpu() { return *cpus[0]; }
  Cpu* cpus[kMaxCpus] = {};
  u32 cpu_count = 0;
  u64 next_id() { return next_id_.fetch_add(1, kRelaxed); }
  CapSlot* empty_chunk() { return nullptr; }
  FrameAllocator frames;
  KernelHeap heap;
  FaultInjector faults;
 private:
  Atomic<u64> next_id_{1};
  ResourceGroup root_;
};
}  // namespace keel
