#include <arch/fast.h>

#include "kernel/core/cpu.h"
#include "kernel/core/entry.h"
#include "kernel/core/thread.h"

namespace keel::arch {
namespace {

void store(Thread& t, const u64 (&words)[kRegisterWords], u64 target, u64 status) {
  for (u32 i = 0; i < kRegisterWords; ++i) t.state.word[i] = words[i];
  t.state.rdi = target;
  t.state.rax = status;
}

}  // namespace

#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wunused-parameter"
KEEL_FAST void entry_fast_exit(KEEL_FAST_PARAMETERS) {
  store(*thread, {w0, w1, w2, w3, w4, w5, w6, w7}, target, status);
}

KEEL_FAST void entry_fast_resume(KEEL_FAST_PARAMETERS) {}
KEEL_FAST void entry_leave(KEEL_FAST_PARAMETERS) { (void)finish_entry(*cpu); }
KEEL_FAST void entry_slow_interrupt(KEEL_FAST_PARAMETERS) { (void)enter_interrupt(*cpu, u32(target)); }

KEEL_FAST void entry_bad_capability(KEEL_FAST_PARAMETERS) {
  store(*thread, {w0, w1, w2, w3, w4, w5, w6, w7}, 0, u64(Status::bad_capability));
}

KEEL_FAST void entry_slow_call(KEEL_FAST_PARAMETERS) {
  store(*cpu->current, {w0, w1, w2, w3, w4, w5, w6, w7}, target, status);
  (void)enter_system_call(*cpu);
}
#pragma clang diagnostic pop

}  // namespace keel::arch
