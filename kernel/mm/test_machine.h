// For tests: a machine with RAM, and what its memory looked like before.
#pragma once

#include <arch/sanitizer.h>
#include <sys/mman.h>

#include <memory>
#include <vector>

#include "kernel/core/machine.h"
#include "kernel/mm/address_space.h"

namespace keel::testing {

inline constexpr u64 kMiB = u64{1} << 20;

class TestMachine {
 public:
  explicit TestMachine(u64 bytes = 64 * kMiB) : bytes_(bytes) {
    // One byte more than asked for on either side, so that RAM need not be aligned to anything but pages.
    memory_ = static_cast<char*>(
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (memory_ == MAP_FAILED) __builtin_trap();
    const PhysRange ram[] = {range(0, bytes)};
    MUST(machine_->frames.initialise(ram, {}));
  }
  ~TestMachine() {
    settle();
    arch::unpoison(memory_, bytes_);
    munmap(memory_, bytes_);
  }
  PhysRange range(u64 offset, u64 length) const { return {PhysAddr(reinterpret_cast<u64>(memory_) + offset), length}; }

  Machine& machine() { return *machine_; }
  Cpu& cpu() { return machine_->work_cpu(); }
  FrameAllocator& frames() { return machine_->frames; }
  ResourceGroup& root() { return machine_->root_group(); }

  // Finishes all deferred work and empties the magazines.
  void settle() {
    while (!cpu().work.run(cpu(), 16)) {
    }
    machine_->heap.drain(cpu());
    frames().drain(cpu());
  }

  struct Baseline {
    u64 free, kernel, user, page_table, heap, group_frames, group_bytes;
    bool operator==(const Baseline&) const = default;
  };
  Baseline baseline() {
    settle();
    const auto s = frames().statistics();
    if (frames().check(cpu()) != s.free) __builtin_trap();
    return {s.free,     s.kernel,
            s.user,     s.page_table,
            machine_->heap.bytes_in_use(), root().usage(Resource::frames), root().usage(Resource::kernel_bytes)};
  }

 private:
  u64 bytes_;
  char* memory_;
  std::unique_ptr<Machine> machine_ = std::make_unique<Machine>();
};

// Runs `body` with the 1st, 2nd, ... allocation failing until it succeeds without any failure. Each time the machine must
// be as it was before.
template <class Body>
void sweep_allocation_failures(TestMachine& m, Body body);

}  // namespace keel::testing
