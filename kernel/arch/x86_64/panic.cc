// The end of a kernel whose invariants are broken: says everything it knows on the early console.
#include <arch/early_console.h>
#include <arch/power.h>

#include "base/format.h"
#include "kernel/arch/x86_64/instructions.h"
#include "kernel/arch/x86_64/processor.h"
#include "kernel/core/machine.h"
#include "kernel/core/process.h"

extern "C" [[gnu::visibility("hidden")]] char kernel_image_start[], kernel_text_end[];

namespace keel::arch {
namespace {

template <class... A>
void print(format_detail::FormatString<std::type_identity_t<A>...> fmt, const A&... arguments) {
  char line[256];
  early_console_write(format_to(line, fmt, arguments...));
}

// SAFETY: an address as a number.
u64 number(const void* p) { return reinterpret_cast<u64>(p); }
bool in_kernel_text(u64 address) { return address >= number(kernel_image_start) && address < number(kernel_text_end); }

// Return addresses, as link-time addresses for `tools/symbolize`.
// SAFETY: frame pointers are followed only inside the CPU's own stack.
void backtrace(Cpu& cpu, u64 rip, u64 rbp) {
  const u64 top = cpu.arch.stack_top, bottom = top - 4 * kPageSize;
  const u64 slide = number(kernel_image_start) - 0xffffffff80000000;
  print("backtrace (link-time addresses; make symbolize):");
  print(" {:x}", rip - slide);
  for (u32 depth = 0; depth < 24 && rbp >= bottom && rbp + 16 <= top && is_aligned(rbp, 8); ++depth) {
    // SAFETY: inside the stack, as just checked.
    const u64* frame = reinterpret_cast<const u64*>(rbp);
    if (!in_kernel_text(frame[1])) break;
    print(" {:x}", frame[1] - slide);
    rbp = frame[0];
  }
  print("\n");
}

}  // namespace

// frame: rax rbx rcx rdx rsi rdi rbp r8-r15, vector, error, rip, cs, rflags, rsp, ss.
void panic_from_trap(Cpu& cpu, u64* f) {
  print("\nKERNEL PANIC on CPU {}: exception {} (error {:#x}) in kernel mode\n", cpu.index, f[15], f[16]);
  print("rip {:016x}  rsp {:016x}  rflags {:08x}  cr2 {:016x}\n", f[17], f[20], f[19], read_cr2());
  print("rax {:016x}  rbx {:016x}  rcx {:016x}  rdx {:016x}\n", f[0], f[1], f[2], f[3]);
  print("rsi {:016x}  rdi {:016x}  rbp {:016x}  r8  {:016x}\n", f[4], f[5], f[6], f[7]);
  print("r9  {:016x}  r10 {:016x}  r11 {:016x}  r12 {:016x}\n", f[8], f[9], f[10], f[11]);
  print("r13 {:016x}  r14 {:016x}  r15 {:016x}\n", f[12], f[13], f[14]);
  if (Thread* t = cpu.current) {
    print("thread {} of process {} ({}), last call {}\n", t->id(), t->process->id(), t->process->name().text,
          t->state.rax & 0xff);
  }
  backtrace(cpu, f[17], f[6]);
  cpu.trace.last(16, [](const TraceRecord& r) {
    print("  {:>14} event {} code {:>3} status {:>2} thread {} {:x} {:x}\n", r.tsc, u32(r.event), r.code, r.status,
          r.thread, r.data[0], r.data[1]);
  });
  exit_emulator(ExitReason::failure);
}

}  // namespace keel::arch
