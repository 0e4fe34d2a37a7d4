# How every CPU but the first starts (Intel SDM vol. 3A, 8.4): in real mode, at the page that the startup IPI names.
#
#   16 bit    startup_code, copied to STARTUP_PAGE by startup.cc: protected mode
#   32 bit    long mode, on page tables that map the first 2 MiB one to one and the kernel's half
#   64 bit    startup_high, in the kernel's image: takes a number and a stack, continues in startup_cpu() (startup.cc)
#
# SAFETY: the page and the tables behind it are in the first MiB, which nobody else uses, until all CPUs are up.
#include "kernel/arch/x86_64/offsets.h"

#define CR0_ON 0x80010033 /* paging, write protection, numeric errors, protected mode; caches on */
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME_NXE 0x900

    .section .rodata.startup, "a", @progbits
    .balign 16
    .globl startup_code, startup_code_end, startup_entry
    .code16
startup_code:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl startup_gdt_register - startup_code
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x08, $(STARTUP_PAGE + startup_32 - startup_code)
    .code32
startup_32:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %cr4, %eax
    orl $CR4_PAE, %eax
    movl %eax, %cr4
    movl $(STARTUP_PAGE + 0x1000), %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    orl $EFER_LME_NXE, %eax
    wrmsr
    movl $CR0_ON, %eax
    movl %eax, %cr0
    ljmpl $0x18, $(STARTUP_PAGE + startup_64 - startup_code)
    .code64
startup_64:
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movq STARTUP_PAGE + startup_entry - startup_code, %rax
    jmpq *%rax
    .balign 8
startup_gdt:
    .quad 0
    .quad 0x00cf9a000000ffff /* 32-bit code */
    .quad 0x00cf92000000ffff /* data */
    .quad 0x00af9a000000ffff /* 64-bit code */
startup_gdt_register:
    .word startup_gdt_register - startup_gdt - 1
    .long STARTUP_PAGE + startup_gdt - startup_code
    .balign 8
startup_entry:
    .quad 0
startup_code_end:

    .text
    .globl startup_high
startup_high:
    movl $1, %eax
    lock xaddl %eax, startup_taken(%rip)
    leaq startup_cpus(%rip), %rcx
    movq (%rcx,%rax,8), %rdi
    movq startup_root(%rip), %rdx
    movq %rdx, %cr3
    movq CPU_STACK(%rdi), %rsp
    xorl %ebp, %ebp
    call startup_cpu
    ud2

    .section .note.GNU-stack, "", @progbits
