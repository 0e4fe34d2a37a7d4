// The end of a kernel whose invariants are broken: says everything it knows on the early console.
#include <string.h>

#include <arch/early_console.h>
#include <arch/panic.h>
#include <arch/power.h>

#include "abi/boot_image.h"
#include "abi/calls.h"
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

// The function that a link-time address lies in, by the boot image's table; empty where that has none.
struct Place {
  std::string_view name;
  u64 offset = 0;
};
Place place_of(std::span<const std::byte> table, u64 offset) {
  u32 count = 0;
  if (table.size() < sizeof(BootSymbols)) return {};
  memcpy(&count, table.data(), sizeof count);
  if (count > (table.size() - sizeof(BootSymbols)) / sizeof(BootSymbol)) return {};
  BootSymbol best{};
  for (u32 i = 0; i < count; ++i) {
    BootSymbol symbol;
    memcpy(&symbol, table.data() + sizeof(BootSymbols) + i * sizeof(BootSymbol), sizeof symbol);
    if (symbol.offset > offset) break;
    best = symbol;
  }
  if (best.name == 0 || best.name >= table.size()) return {};
  const void* name = table.data() + best.name;
  const usize room = table.size() - best.name;
  usize length = 0;
  while (length < room && length < 80 && static_cast<const char*>(name)[length] != 0) ++length;
  return {{static_cast<const char*>(name), length}, offset - best.offset};
}

void print_place(Cpu& cpu, u64 address) {
  const u64 offset = address - number(kernel_image_start);
  const Place place = place_of(cpu.machine.symbols, offset);
  print("  {:016x}  {}+{:#x}\n", offset + 0xffffffff80000000, place.name.empty() ? "?" : place.name, place.offset);
}

// SAFETY: frame pointers are followed only inside the CPU's own stack.
void backtrace(Cpu& cpu, u64 rip, u64 rbp) {
  const u64 top = cpu.arch.stack_top, bottom = top - 4 * kPageSize;
  print("backtrace, at link-time addresses:\n");
  print_place(cpu, rip);
  for (u32 depth = 0; depth < 24 && rbp >= bottom && rbp + 16 <= top && is_aligned(rbp, 8); ++depth) {
    // SAFETY: inside the stack, as just checked.
    const u64* frame = reinterpret_cast<const u64*>(rbp);
    if (!in_kernel_text(frame[1])) break;
    print_place(cpu, frame[1]);
    rbp = frame[0];
  }
}

const char* event_name(TraceEvent e) {
  switch (e) {
    case TraceEvent::none:
      return "-";
    case TraceEvent::call:
      return "call";
    case TraceEvent::switch_to:
      return "run";
    case TraceEvent::fault:
      return "fault";
    case TraceEvent::interrupt:
      return "interrupt";
    case TraceEvent::kill:
      return "kill";
    case TraceEvent::enter:
      return "enter";
  }
  return "?";
}

void print_event(const TraceRecord& r) {
  if (r.event == TraceEvent::call) {
    const char* name = call_name(r.code);
    print("  {:>14}  thread {:<5} {:<10} {} -> {}\n", r.tsc, r.thread, "call", name == nullptr ? "?" : name,
          Status(r.status));
  } else if (r.event == TraceEvent::enter) {
    const char* name = call_name(r.code);
    print("  {:>14}  thread {:<5} {:<10} {} {:#x}\n", r.tsc, r.thread, "enter", name == nullptr ? "?" : name, r.data);
  } else {
    print("  {:>14}  thread {:<5} {:<10} {} {:#x}\n", r.tsc, r.thread, event_name(r.event), r.code, r.data);
  }
}

}  // namespace

void panic(std::string_view why) {
  print("\nKERNEL PANIC: {}\n", why);
  __builtin_trap();  // to panic_from_trap()
}

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
  print("last events:\n");
  cpu.trace.last(16, print_event);
  exit_emulator(ExitReason::failure);
}

}  // namespace keel::arch
