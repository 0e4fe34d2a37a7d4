#include "kernel/arch/host/simulation.h"

#include <arch/context.h>
#include <sys/mman.h>

#include "base/atomic.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/common_interface_defs.h>
#define KEEL_FIBER_SANITIZER 1
#endif
#endif

namespace keel {

#ifdef KEEL_SIMULATION
void simulation_point() {
  if (arch::Simulation* s = arch::Simulation::active) s->point();
}
bool simulation_store(void* at, u64 value, u32 size) {
  arch::Simulation* s = arch::Simulation::active;
  return s != nullptr && s->store(at, value, size);
}
bool simulation_load(const void* at, u64* value) {
  const arch::Simulation* s = arch::Simulation::active;
  return s != nullptr && s->load(at, value);
}
void simulation_fence() {
  if (arch::Simulation* s = arch::Simulation::active) s->fence();
}
#endif

namespace arch {

Simulation* Simulation::active = nullptr;

// SAFETY: saves what the System V convention wants kept and goes on with another stack, on which the same was saved.
asm(R"(
    .text
    .globl keel_switch_fiber
keel_switch_fiber:        # rdi: where to keep this stack pointer, rsi: the other one
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    retq
)");
extern "C" void keel_switch_fiber(u64* save, u64 to);

Simulation::Simulation(u32 cpus, u64 seed, Body& body) : fibers_(cpus), body_(body), state_(seed) {
  // Runs differ in how often they switch, and in whether stores are late.
  static constexpr u64 kGaps[] = {1, 2, 3, 6, 12, 25, 60, 200};
  mean_gap_ = kGaps[below(8)];
  delay_of_eight_ = below(2) == 0 ? 0 : u32(1 + below(7));
  for (Fiber& f : fibers_) {
    f.stack = static_cast<char*>(
        mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (f.stack == MAP_FAILED) __builtin_trap();
    // What keel_switch_fiber pops: six registers, then the return address; the stack is aligned as after a call.
    auto* top = reinterpret_cast<u64*>(f.stack + kStackBytes) - 1;
    *--top = reinterpret_cast<u64>(&first_code);
    f.stack_pointer = reinterpret_cast<u64>(top - 6);
  }
  active = this;
}

Simulation::~Simulation() {
  active = nullptr;
  for (Fiber& f : fibers_) munmap(f.stack, kStackBytes);
}

u64 Simulation::random() {
  u64 z = (state_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

void Simulation::first_code() {
  Simulation& s = *active;
#ifdef KEEL_FIBER_SANITIZER
  __sanitizer_finish_switch_fiber(nullptr, &s.main_stack_, &s.main_stack_bytes_);
#endif
  s.body_.run_cpu(s.current_);
  s.fibers_[s.current_].finished = true;
  s.fence();
  s.switch_to(kNobody);
  __builtin_trap();
}

// kNobody: back to run().
void Simulation::switch_to(u32 next) {
  const u32 from = current_;
  if (next == from) return;
  current_ = next;
  u64* save = from == kNobody ? &main_stack_pointer_ : &fibers_[from].stack_pointer;
#ifdef KEEL_FIBER_SANITIZER
  void** fake = from == kNobody ? &main_sanitizer_ : &fibers_[from].sanitizer;
  const void* bottom = next == kNobody ? main_stack_ : fibers_[next].stack;
  __sanitizer_start_switch_fiber(fake, bottom, next == kNobody ? main_stack_bytes_ : kStackBytes);
#endif
  keel_switch_fiber(save, next == kNobody ? main_stack_pointer_ : fibers_[next].stack_pointer);
#ifdef KEEL_FIBER_SANITIZER
  const void* old = nullptr;
  usize old_bytes = 0;
  __sanitizer_finish_switch_fiber(*fake, &old, &old_bytes);
#endif
}

u32 Simulation::pick() {
  const u32 count = u32(fibers_.size());
  const u32 first = u32(below(count));
  const u32 asking = current_;
  current_ = kNobody;  // what is asked of the body is no event
  u32 found = kNobody;
  for (u32 i = 0; i < count; ++i) {
    const u32 n = (first + i) % count;
    const Fiber& f = fibers_[n];
    if (!f.finished && (!f.parked || body_.is_awake(n))) {
      found = n;
      break;
    }
  }
  current_ = asking;
  return found;
}

void Simulation::run() {
  for (;;) {
    const u32 next = pick();
    if (next == kNobody) {
      for (Fiber& f : fibers_) drain(f, f.stores.size());
      if (pick() == kNobody && !body_.all_asleep()) return;
      continue;
    }
    switch_to(next);
  }
}

void Simulation::give_way() {
  drain(fibers_[current_], below(2));
  until_switch_ = 1 + below(2 * mean_gap_);
  const u32 next = pick();
  switch_to(next);
}

void Simulation::park() {
  Fiber& f = fibers_[current_];
  f.parked = true;
  switch_to(kNobody);
  f.parked = false;
}

void Simulation::point() {
  if (current_ == kNobody) return;
  ++fibers_[current_].points;
  if (--until_switch_ != 0) return;
  give_way();
}

u64 Simulation::points() const {
  u64 sum = 0;
  for (const Fiber& f : fibers_) sum += f.points;
  return sum;
}

void Simulation::drain(Fiber& fiber, usize count) {
  for (usize i = 0; i < count && i < fiber.stores.size(); ++i) {
    const Store& s = fiber.stores[i];
    switch (s.size) {
      case 1:
        __atomic_store_n(static_cast<u8*>(s.at), u8(s.value), __ATOMIC_SEQ_CST);
        break;
      case 2:
        __atomic_store_n(static_cast<u16*>(s.at), u16(s.value), __ATOMIC_SEQ_CST);
        break;
      case 4:
        __atomic_store_n(static_cast<u32*>(s.at), u32(s.value), __ATOMIC_SEQ_CST);
        break;
      default:
        __atomic_store_n(static_cast<u64*>(s.at), s.value, __ATOMIC_SEQ_CST);
    }
  }
  if (count > fiber.stores.size()) count = fiber.stores.size();
  fiber.stores.erase(fiber.stores.begin(), fiber.stores.begin() + i64(count));
}

bool Simulation::store(void* at, u64 value, u32 size) {
  if (current_ == kNobody || delay_of_eight_ == 0) return false;
  Fiber& f = fibers_[current_];
  if (f.stores.empty() && below(8) >= delay_of_eight_) return false;
  f.stores.push_back({at, value, size});
  if (f.stores.size() > 16) drain(f, 1);
  return true;
}

bool Simulation::load(const void* at, u64* value) const {
  if (current_ == kNobody) return false;
  const Fiber& f = fibers_[current_];
  for (usize i = f.stores.size(); i-- > 0;) {
    if (f.stores[i].at != at) continue;
    *value = f.stores[i].value;
    return true;
  }
  return false;
}

void Simulation::fence() {
  if (current_ != kNobody) drain(fibers_[current_], fibers_[current_].stores.size());
}

}  // namespace arch
}  // namespace keel
