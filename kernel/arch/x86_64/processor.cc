#include "kernel/arch/x86_64/processor.h"

#include <arch/context.h>
#include <arch/fast_switch.h>
#include <arch/memory.h>

#include "abi/calls.h"
#include "kernel/arch/x86_64/instructions.h"
#include "kernel/arch/x86_64/offsets.h"
#include "kernel/core/entry.h"
#include "kernel/core/machine.h"
#include "kernel/ipc/fast.h"
#include "kernel/mm/address_space.h"

#define HIDDEN [[gnu::visibility("hidden")]]
extern "C" {
HIDDEN extern char entry_text[], entry_system_call[], entry_vectors[], entry_resume[];
}

namespace keel::arch {
namespace {

// The layouts that entry.S relies on.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Winvalid-offsetof"
static_assert(offsetof(Cpu, arch) == 0 && offsetof(CpuState, self) == CPU_SELF);
static_assert(offsetof(CpuState, stack_top) == CPU_STACK);
static_assert(offsetof(CpuState, enter_system_call) == CPU_ENTER_SYSTEM_CALL);
static_assert(offsetof(CpuState, enter_trap) == CPU_ENTER_TRAP);
static_assert(offsetof(CpuState, enter_panic) == CPU_ENTER_PANIC);
static_assert(offsetof(CpuState, finish_entry) == CPU_FINISH_ENTRY);
static_assert(offsetof(CpuState, fast_interrupt) == CPU_FAST_INTERRUPT);
static_assert(offsetof(CpuState, dispatch) == CPU_DISPATCH);
static_assert(offsetof(Cpu, current) == CPU_CURRENT);
static_assert(offsetof(Thread, state) == THREAD_STATE);
static_assert(offsetof(Thread, state.rip) == T_RIP && offsetof(Thread, state.rsp) == T_RSP);
static_assert(offsetof(Thread, state.rbx) == T_RBX && offsetof(Thread, state.rbp) == T_RBP);
static_assert(offsetof(Thread, state.rax) == T_RAX && offsetof(Thread, state.rdi) == T_RDI);
static_assert(offsetof(Thread, state.word) == T_WORD0);
static_assert(offsetof(Thread, state.rcx) == T_RCX && offsetof(Thread, state.r10) == T_R10);
static_assert(offsetof(Thread, state.r11) == T_R11 && offsetof(Thread, state.rflags) == T_RFLAGS);
static_assert(offsetof(Thread, state.resume) == T_RESUME);
static_assert(offsetof(Cpu, trace) + offsetof(TraceRing, added) == CPU_TRACE);
static_assert(offsetof(TraceRing, records) == offsetof(TraceRing, added) + 8 && TraceRing::kRecords == TRACE_RECORDS);
static_assert(sizeof(TraceRecord) == 1 << TRACE_RECORD_SHIFT && u32(TraceEvent::enter) == TRACE_ENTER);
static_assert(offsetof(TraceRecord, event) == 8 && offsetof(TraceRecord, thread) == 12);
static_assert(offsetof(TraceRecord, data) == 16 && offsetof(TraceRecord, process) == 24);
static_assert(offsetof(TraceRecord, trace) == 28 && offsetof(SchedulingContext, causality.trace) == CONTEXT_TRACE);
static_assert(offsetof(Thread, process) == T_PROCESS && offsetof(Thread, context) == T_CONTEXT);
}  // namespace
class EntryLayout {
  static_assert(offsetof(KObject, id_) == OBJECT_ID);
};
namespace {
#pragma clang diagnostic pop
static_assert(u32(Status::bad_capability) == BAD_CAPABILITY);
static_assert(FIRST_DEVICE_VECTOR == InterruptTable::kFirstVector);
static_assert(LAST_DEVICE_VECTOR == InterruptTable::kFirstVector + InterruptTable::kVectors - 1);

constexpr u32 kStackPages = 4;
constexpr u32 kIstPages = 2;
constexpr u32 kMsrStar = 0xc0000081, kMsrLstar = 0xc0000082, kMsrFmask = 0xc0000084, kMsrEfer = 0xc0000080;
// At SYSCALL: interrupts, direction, trap, alignment check, nested task off; arithmetic flags as they were.
constexpr u64 kFlagsOff = 0x00047700;

struct IdtEntry {
  u16 offset_low;
  u16 selector;
  u8 ist;
  u8 type;
  u16 offset_middle;
  u32 offset_high;
  u32 reserved;
};
struct Tables {
  IdtEntry idt[256];
  u64 gdt[8];
  TaskState task;
};
struct [[gnu::packed]] TableRegister {
  u16 limit;
  u64 base;
};

// SAFETY: an address as a number.
u64 number(const void* p) { return reinterpret_cast<u64>(p); }

Result<Tables*> allocate_tables(Cpu& cpu) {
  static_assert(sizeof(Tables) <= 2 * kPageSize);
  Frame* frame = TRY(cpu.machine.frames.allocate(cpu, cpu.machine.root_group(), 1));
  return new (phys_to_virt(cpu.machine.frames.address(frame))) Tables();
}

// Intel SDM vol. 3A, 3.4.5 and 7.2.3.
void fill_gdt(Tables& t) {
  const u64 base = number(&t.task);
  const u64 limit = sizeof(TaskState) - 1;
  t.gdt[KERNEL_CODE / 8] = 0x00af9a000000ffff;
  t.gdt[KERNEL_DATA / 8] = 0x00cf92000000ffff;
  t.gdt[USER_DATA / 8] = 0x00cff2000000ffff;
  t.gdt[USER_CODE / 8] = 0x00affa000000ffff;
  t.gdt[TASK_STATE / 8] = limit | (base & 0xffffff) << 16 | u64{0x89} << 40 | (base >> 24 & 0xff) << 56;
  t.gdt[TASK_STATE / 8 + 1] = base >> 32;
}

// SAFETY: the tables are filled in, live as long as the machine, and describe the segments that the kernel runs in.
void load_tables(const Tables& t) {
  const TableRegister gdt{sizeof(t.gdt) - 1, number(t.gdt)};
  const TableRegister interrupts{sizeof(t.idt) - 1, number(t.idt)};
  asm volatile("lgdt %0" : : "m"(gdt));
  asm volatile("lidt %0" : : "m"(interrupts));
  asm volatile("ltr %w0" : : "r"(TASK_STATE));
  // SAFETY: as above; the far return loads the code segment.
  asm volatile(
      "pushq %0\n leaq 1f(%%rip), %%rax\n pushq %%rax\n lretq\n1:\n"
      "movl %1, %%eax\n movl %%eax, %%ss\n xorl %%eax, %%eax\n movl %%eax, %%ds\n movl %%eax, %%es\n"
      "movl %%eax, %%fs\n movl %%eax, %%gs"
      :
      : "i"(KERNEL_CODE), "i"(KERNEL_DATA)
      : "rax", "memory");
}

// x87, SSE and, where there is one, AVX. Intel SDM vol. 1, chapter 13.
constexpr u64 kVectorParts = 7;
constinit u64 vector_parts = 0;

void enable_vector_state() {
  u64 cr4;
  // SAFETY: sets OSFXSR, OSXMMEXCPT and OSXSAVE, which CPUID reports.
  asm volatile("mov %%cr4, %0" : "=r"(cr4));
  asm volatile("mov %0, %%cr4" : : "r"(cr4 | 1 << 9 | 1 << 10 | 1 << 18));
  write_xcr0(vector_parts);
}

// The boot CPU's, taken to be those of all.
Result<void> choose_vector_parts() {
  if ((cpuid(1).ecx >> 26 & 1) == 0) return Status::not_supported;  // XSAVE
  vector_parts = kVectorParts & cpuid(0xd).eax;
  enable_vector_state();
  if (cpuid(0xd).ebx > ThreadState::kVectorBytes) return Status::not_supported;
  return {};
}

Thread* handle_trap(Cpu& cpu, u64 vector, u64 error) {
  if (vector == kIpiVector) {  // first: calls between CPUs wait for it
    end_of_interrupt();
    return enter_ipi(cpu);
  }
  switch (vector) {
    case 0:
      return enter_exception(cpu, FaultKind::divide, error);
    case 1:
      return enter_exception(cpu, FaultKind::debug, error);
    case 2:  // the watchdog's, for a CPU that has just left the kernel after all
      if (cpu.machine.platform.watchdog.take_alarm(cpu)) return enter_self_interrupt(cpu);
      return enter_exception(cpu, FaultKind::other, vector);
    case 3:
      return enter_exception(cpu, FaultKind::breakpoint, error);
    case 6:
      return enter_exception(cpu, FaultKind::illegal_instruction, error);
    case 12:
      return enter_exception(cpu, FaultKind::stack, error);
    case 13:
      return enter_exception(cpu, FaultKind::protection, error);
    case 14:
      return enter_page_fault(cpu, read_cr2(), error);
    case 16:
    case 19:
      return enter_exception(cpu, FaultKind::floating_point, error);
    case 17:
      return enter_exception(cpu, FaultKind::alignment, error);
    case kTimerVector:
      end_of_interrupt();
      return enter_timer(cpu);
    case kSelfVector:
      end_of_interrupt();
      return enter_self_interrupt(cpu);
    case kSpuriousVector:
      return enter_self_interrupt(cpu);
    default:
      break;
  }
  if (vector < 32) return enter_exception(cpu, FaultKind::other, vector);
  end_of_interrupt();
  return enter_interrupt(cpu, u32(vector));
}

// The calls that have paths of their own.
void install_paths(Cpu& cpu, bool traced) {
  using Path = decltype(fast_call);
  const auto install = [&](Call call, Path* fast, Path* with_record) {
    // SAFETY: reached only through entry_system_call, which keeps to their calling convention.
    cpu.arch.dispatch[u32(call)] = reinterpret_cast<void*>(traced ? with_record : fast);
  };
  install(Call::call, fast_call, traced_call);
  install(Call::reply_receive, fast_reply_receive, traced_reply_receive);
  install(Call::notification_signal, fast_signal, traced_signal);
  install(Call::notification_wait, fast_wait, traced_wait);
  install(Call::yield, fast_yield, traced_yield);
  install(Call::cap_derive, fast_derive, traced_derive);
  // SAFETY: as above, through `interrupt`.
  cpu.arch.fast_interrupt = reinterpret_cast<void*>(traced ? traced_interrupt : fast_interrupt);
}

// MXCSR: all exceptions masked.
constexpr InitialVectorState make_initial_vector_state() {
  InitialVectorState state;
  state.bytes[24] = 0x80;
  state.bytes[25] = 0x1f;
  return state;
}

}  // namespace

extern "C" {
extern constinit const InitialVectorState initial_vector_area = make_initial_vector_state();
}

Result<void> set_up_boot_processor(Cpu& cpu, PhysAddr first_page) {
  TRY(choose_vector_parts());
  TRY(prepare_processor(cpu, cpu, first_page));
  load_processor(cpu);
  return {};
}

Result<void> prepare_processor(Cpu& boot_cpu, Cpu& cpu, PhysAddr first_page) {
  ResourceGroup& group = cpu.machine.root_group();
  Tables* tables = TRY(allocate_tables(boot_cpu));
  fill_gdt(*tables);
  cpu.arch.self = &cpu;
  cpu.arch.tables = tables;
  cpu.arch.stack_top = TRY(allocate_stack(boot_cpu, group, kStackPages)).value;
  cpu.arch.enter_system_call = enter_system_call;
  cpu.arch.enter_trap = handle_trap;
  cpu.arch.enter_panic = panic_from_trap;
  cpu.arch.finish_entry = finish_entry;
  tables->task.rsp[0] = cpu.arch.stack_top;
  // Own stacks for what may strike while the stack is not ours or no good: debug, NMI, double fault, machine check.
  constexpr u8 kIst[4] = {1, 2, 8, 18};
  for (u32 i = 0; i < 4; ++i) tables->task.ist[i] = TRY(allocate_stack(boot_cpu, group, kIstPages)).value;

  const u64 shift = cpu.arch.entry_shift = TRY(map_entry(boot_cpu, group, cpu.index, first_page));
  for (void*& path : cpu.arch.dispatch) {
    // SAFETY: reached only through entry_system_call.
    path = reinterpret_cast<void*>(entry_slow_call);
  }
  for (u32 v = 0; v < 256; ++v) {
    const u64 at = number(entry_vectors) + shift + v * 16;
    u8 ist = 0;
    for (u32 i = 0; i < 4; ++i) {
      if (kIst[i] == v) ist = u8(i + 1);
    }
    const u8 type = v == 3 ? 0xee : 0x8e;  // interrupt gate; breakpoints may be raised by user mode
    tables->idt[v] = {u16(at), KERNEL_CODE, ist, type, u16(at >> 16), u32(at >> 32), 0};
  }
  install_paths(cpu, cpu.machine.trace_calls);
  return {};
}

void route_message_paths(Cpu& cpu, bool general) {
  install_paths(cpu, cpu.machine.trace_calls);
  if (!general) return;
  // SAFETY: as in prepare_processor().
  for (const Call call : {Call::call, Call::reply_receive})
    cpu.arch.dispatch[u32(call)] = reinterpret_cast<void*>(entry_slow_call);
}

void load_processor(Cpu& cpu) {
  enable_vector_state();
  load_tables(*static_cast<const Tables*>(cpu.arch.tables));
  write_msr(kMsrEfer, read_msr(kMsrEfer) | 1);  // SYSCALL
  write_msr(kMsrStar, u64{USER_DATA - 8} << 48 | u64{KERNEL_CODE} << 32);
  write_msr(kMsrLstar, number(entry_system_call) + cpu.arch.entry_shift);
  write_msr(kMsrFmask, kFlagsOff);
}

void run(Cpu& cpu, Thread* first) {
  // SAFETY: entry_resume takes the thread in rax and the CPU in rbx, and never returns.
  asm volatile("movq %2, %%rsp\n jmpq *%3" : : "a"(first), "b"(&cpu), "r"(cpu.arch.stack_top), "r"(entry_resume));
  __builtin_unreachable();
}

u64 read_clock(Cpu&) { return read_tsc(); }
void relax() { pause(); }

void unload_thread(Cpu& cpu) {
  Thread* from = cpu.loaded;
  if (from == nullptr) return;
  from->state.fs_base = read_fs_base();
  from->state.gs_base = read_gs_base();
  // After a system call that waited, vector state is dead (docs/adr/0003-ipc.md).
  if (from->state.resume == ResumeKind::interrupted) save_vector_state(from->state.vector, vector_parts);
  cpu.loaded = nullptr;
}

void load_thread(Cpu& cpu, Thread& next) {
  unload_thread(cpu);
  write_fs_base(next.state.fs_base);
  write_gs_base(next.state.gs_base);
  const bool interrupted = next.state.resume == ResumeKind::interrupted;
  restore_vector_state(interrupted ? next.state.vector : initial_vector_area.bytes, vector_parts);
  if (cpu.space.load(kRelaxed) != next.space) next.space->activate(cpu);
  cpu.loaded = &next;
}

void leave_space(Cpu& cpu) {
  cpu.space.store(nullptr, kRelaxed);
  load_kernel_root();
}

}  // namespace keel::arch
