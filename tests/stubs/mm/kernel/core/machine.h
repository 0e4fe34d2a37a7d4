// What kernel/mm and kernel/group need of a Machine.
#pragma once
#include "kernel/core/cpu.h"
#include "kernel/group/group.h"
#include "kernel/mm/fault_injector.h"
#include "kernel/mm/frames.h"
#include "kernel/mm/heap.h"
namespace keel {
class Machine {
 public:
  Machine() : root_(*this, nullptr) { cpus[0] = &boot_cpu; }
  ResourceGroup& root_group() { return root_; }
  FrameAllocator frames;
  KernelHeap heap;
  FaultInjector faults;
  Cpu boot_cpu{*this, 0};
  Cpu* cpus[kMaxCpus] = {};
  u32 cpu_count = 1;
  WorkQueue deferred;  // objects whose last reference went
 private:
  ResourceGroup root_;
};
}  // namespace keel
