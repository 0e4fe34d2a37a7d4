#include "tests/system/abi/common.h"

namespace keel::abi_test {

u64 settled_kernel_bytes() {
  const CapIndex group = self().group;
  static const CapIndex never = *sys::notification_create(group);
  u64 bytes = 0;
  for (u32 same = 0; same < 3;) {
    (void)sys::notification_wait(never, Deadline(now() + 5'000'000));
    const u64 sample = sys::group_info(group)->kernel_bytes;
    same = sample == bytes ? same + 1 : 0;
    bytes = sample;
  }
  return bytes;
}

u64 cache_slack() {
  const u64 cpus = sys::system_info(find_capability("control"))->cpus;
  return cpus == 1 ? 8 : cpus * 14 * 16;
}

void expect_kernel_bytes(Check& check, u64 before) {
  const CapIndex group = self().group;
  const Deadline limit(now() + 5'000'000'000);
  while (sys::group_info(group)->kernel_bytes != before && now() < limit.value) (void)sys::yield();
  check.that(sys::group_info(group)->kernel_bytes == before, "kernel bytes",
             sys::group_info(group)->kernel_bytes - before);
}

void expect_free(Check& check, u64 before, u64 slack) {
  u64 after = 0;
  for (u32 i = 0; i < 2000; ++i) {
    after = free_pages();
    if (after + slack >= before) break;
    (void)sys::yield();
  }
  check.that(after + slack >= before, "pages are gone", before - after);
}

asm(R"(
    .section .rodata
    .balign 64
    .globl abi_code, abi_code_end, abi_exit, abi_read, abi_write, abi_jump, abi_divide, abi_breakpoint
    .globl abi_illegal, abi_in, abi_hlt, abi_cr3, abi_wrmsr, abi_int, abi_noncanonical, abi_bad_stack
    .globl abi_spin, abi_vector, abi_server, abi_take
abi_code:
    .skip 0
abi_exit:                  # thread_exit
    movl $12, %eax
    syscall
    ud2
    .balign 64
abi_read:                  # reads the word at rdi
    movq (%rdi), %rax
    movl $12, %eax
    syscall
    .balign 64
abi_write:
    movq %rsi, (%rdi)
    movl $12, %eax
    syscall
    .balign 64
abi_jump:
    jmp *%rdi
    .balign 64
abi_divide:
    xorl %ecx, %ecx
    xorl %edx, %edx
    movl $1, %eax
    divl %ecx
    movl $12, %eax
    syscall
    .balign 64
abi_breakpoint:
    int3
    movl $12, %eax
    syscall
    .balign 64
abi_illegal:
    ud2
    movl $12, %eax
    syscall
    .balign 64
abi_in:
    inb $0x80, %al
    movl $12, %eax
    syscall
    .balign 64
abi_hlt:
    hlt
    movl $12, %eax
    syscall
    .balign 64
abi_cr3:
    movq %cr3, %rax
    movl $12, %eax
    syscall
    .balign 64
abi_wrmsr:
    xorl %ecx, %ecx
    wrmsr
    movl $12, %eax
    syscall
    .balign 64
abi_int:
    int $0x40
    movl $12, %eax
    syscall
    .balign 64
abi_noncanonical:
    movabsq $0x800000000000, %rax
    movq (%rax), %rax
    movl $12, %eax
    syscall
    .balign 64
abi_bad_stack:
    movabsq $0x800000001000, %rsp
    pushq %rax
    movl $12, %eax
    syscall
    .balign 64
abi_spin:                  # counts in the word at rdi for ever
1:  incq (%rdi)
    jmp 1b
    .balign 64
abi_vector:                # keeps values in xmm, r8-r15 and the FS base while it is preempted; rdi: struct Keeper
    movq 8(%rdi), %rsi
    wrfsbase %rsi
    movq %rsi, %xmm0
    movq %rsi, %xmm15
    movq %rsi, %r8
    movq %rsi, %r15
    movq %rsi, %rbp
1:  incq (%rdi)
    movq %xmm0, %rax
    cmpq %rax, %rsi
    jne 2f
    movq %xmm15, %rax
    cmpq %rax, %rsi
    jne 2f
    rdfsbase %rax
    cmpq %rax, %rsi
    jne 2f
    cmpq %r8, %rsi
    jne 2f
    cmpq %r15, %rsi
    jne 2f
    cmpq %rbp, %rsi
    jne 2f
    cmpq $0, 16(%rdi)
    je 1b
    movl $12, %eax
    syscall
2:  movq $1, 24(%rdi)
    movl $12, %eax
    syscall
    .balign 64
abi_server:                # answers calls on the port in rdi with the words that came
    movq %rdi, %rbx
    movl $35, %eax
    syscall
1:  andl $0x1ff00, %eax
    orl $34, %eax
    movq %rbx, %rdi
    syscall
    jmp 1b
    .balign 64
abi_take:                  # takes one call on the port in rdi and dies with it
    movl $35, %eax
    syscall
    movl $12, %eax
    syscall
abi_code_end:
    .text
)");

namespace {
CapIndex g_code;  // memory that holds the small programs
}

void make_code() {
  const u64 bytes = u64(abi_code_end - abi_code);
  g_code = *sys::memory_create(self().group, (bytes + kPageSize - 1) / kPageSize, 0);
  auto here = Mapping::map(g_code, Access::read_write);
  memcpy(here->data(), abi_code, bytes);
}

Child make_child(u64 level) {
  Child c;
  auto made = sys::process_create(self().group, 'c' | 'h' << 8, 0, 0);
  if (!made.has_value()) return c;
  c.process = made->process;
  c.space = made->space;
  c.memory = *sys::memory_create(self().group, 2, 0);
  c.code = *sys::space_map(c.space, g_code.value, 0, sys::memory_info(g_code)->pages, 5, 0);
  c.data = *sys::space_map(c.space, c.memory.value, 0, 2, 3, 0);
  c.thread = sys::thread_create(c.process, level)->thread;
  c.ok = true;
  return c;
}
Status start(const Child& c, const char* code, u64 a, u64 b) {
  return sys::thread_start(c.thread, c.code + u64(code - abi_code), c.data + 2 * kPageSize, a, b).status();
}
void end(Child& c) {
  (void)sys::process_kill(c.process, 0);
  (void)sys::process_wait(c.process, kForever);
  for (CapIndex cap : {c.thread, c.memory, c.space, c.process}) (void)sys::cap_delete(cap);
}

}  // namespace keel::abi_test
