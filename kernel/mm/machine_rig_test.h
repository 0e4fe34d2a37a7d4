// For tests: a machine with RAM, and what its memory looked like before.
#pragma once

#include <arch/memory.h>
#include <arch/sanitizer.h>
#include <sys/mman.h>

#include <cstdlib>
#include <memory>

#include "kernel/core/machine.h"
#include "kernel/mm/address_space.h"

// --- What the classes declare for tests.

namespace keel {

inline u64 FrameAllocator::check(Cpu& cpu) {
  LockGuard guard(cpu, lock_);
  u64 free = 0;
  for (u32 order = 0; order <= kMaxOrder; ++order) {
    for (u32 i = heads_[order]; i != Frame::kNone; i = at(i).next) {
      const Frame& frame = at(i);
      if (!frame.listed || frame.order != order) __builtin_trap();
      if ((i & ((1u << order) - 1)) != 0) __builtin_trap();  // I1
      const Frame& buddy = at(i ^ (1u << order));
      if (order < kMaxOrder && buddy.listed && buddy.order == order) __builtin_trap();  // I2
      free += u64{1} << order;
    }
  }
  for (u32 i = cold_next_; i < cold_count_; ++i) free += cold_[i].end - cold_[i].first;
  return free;
}

inline std::optional<PageTable::Mapping> PageTable::lookup(VirtAddr at) const {
  const Entry* t = table(root_);
  for (u32 level = kLevels - 1;; --level) {
    const Entry entry = arch::read_entry(&t[index(at, level)]);
    if (!arch::is_present(entry)) return std::nullopt;
    if (arch::is_leaf(entry, level)) {
      return Mapping{arch::address_of(entry) + (at.value & (span(level) - 1)), arch::flags_of(entry), level > 0};
    }
    t = table(arch::address_of(entry));
  }
}

inline std::optional<PageTable::Mapping> AddressSpace::lookup(Cpu& cpu, VirtAddr at) {
  LockGuard guard(cpu, lock_);
  return tables_.lookup(at);
}

struct RegionInfo {
  VirtAddr start;
  u64 pages;
  u64 memory_id;
  u64 first_page;
  Protection prot;
  Protection max;
};

inline u32 AddressSpace::regions(Cpu& cpu, VirtAddr from, std::span<RegionInfo> out) {
  u32 count = 0;
  LockGuard guard(cpu, lock_);
  for (Region* r = first_after(from); r != nullptr && count < out.size(); r = regions_.next(*r)) {
    out[count++] = {r->start, r->pages, r->memory->id(), r->first_page, r->prot, r->max};
  }
  return count;
}

// When nobody else works with the space.
inline u64 AddressSpace::region_count() NO_THREAD_SAFETY_ANALYSIS {
  u64 count = 0;
  for (Region* r = regions_.first(); r != nullptr; r = regions_.next(*r)) ++count;
  return count;
}

inline bool AddressSpace::check(Cpu& cpu) {
  LockGuard guard(cpu, lock_);
  VirtAddr last = kUserBase;
  for (Region* r = regions_.first(); r != nullptr; r = regions_.next(*r)) {
    if (r->start < last || r->end() > kUserEnd || r->pages == 0) return false;  // I1
    if (r->first_page + r->pages > r->memory->pages()) return false;            // I1
    if (!within(r->prot, r->max) || !is_mappable(r->prot)) return false;        // I2
    last = r->end();
  }
  return true;
}

}  // namespace keel

namespace keel::testing {

inline constexpr u64 kMiB = u64{1} << 20;

class TestMachine {
 public:
  explicit TestMachine(u64 bytes = 64 * kMiB) : bytes_(bytes) {
    memory_ = static_cast<char*>(
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (memory_ == MAP_FAILED) __builtin_trap();
    machine_->add_cpu(*cpu_);
    machine_->attach(*cpu_);
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
  Cpu& cpu() { return *cpu_; }
  FrameAllocator& frames() { return machine_->frames; }
  ResourceGroup& root() { return machine_->root_group(); }

  // Finishes all deferred work and empties the magazines.
  void settle() {
    do {
      machine_->orphans.adopt(cpu());
    } while (!cpu().work.run(cpu(), 16) || !machine_->orphans.empty());
    machine_->heap.drain(cpu());
    frames().drain(cpu());
  }

  struct Baseline {
    u64 free, kernel, user, page_table, group_frames, group_bytes;
    bool operator==(const Baseline&) const = default;
  };
  Baseline baseline() {
    settle();
    const auto s = frames().statistics();
    if (frames().check(cpu()) != s.free) __builtin_trap();
    return {
        s.free, s.kernel, s.user, s.page_table, root().usage(Resource::frames), root().usage(Resource::kernel_bytes)};
  }

 private:
  u64 bytes_;
  char* memory_;
  std::unique_ptr<Machine> machine_ = std::make_unique<Machine>();
  std::unique_ptr<Cpu> cpu_ = std::make_unique<Cpu>(*machine_, 0);
};

// Runs `body(machine)`, which answers a Status, with the 1st, 2nd, ... allocation failing until it gets through without
// a failure. Each time memory and charges must be exactly what they were before. Answers how many failures it saw.
template <class Body>
u64 sweep_allocation_failures(TestMachine& m, Body body) {
  for (u64 n = 1;; ++n) {
    const auto before = m.baseline();
    m.machine().faults.fail_after(n);
    const Status status = body();
    const bool failed = !m.machine().faults.armed();
    m.machine().faults.fail_after(0);
    if (m.baseline() != before) __builtin_trap();
    if (!failed) {
      if (status != Status::ok) __builtin_trap();
      return n - 1;
    }
    if (status != Status::no_memory && status != Status::ok) __builtin_trap();
  }
}

// A pseudo-random sequence whose seed KEEL_SEED sets; print it with SCOPED_TRACE.
class Random {
 public:
  explicit Random(u64 seed) : state_(seed) {}
  u64 next() {
    u64 z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  u64 below(u64 n) { return next() % n; }

 private:
  u64 state_;
};
inline u64 test_seed() {
  const char* text = std::getenv("KEEL_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 0) : 1;
}

}  // namespace keel::testing
