# Entry of the kernel by direct boot (PVH): 32-bit protected mode, paging off, EBX = physical address of hvm_start_info.
#
#   32 bit    check the CPU, map the first 4 GiB one to one, enter long mode
#   64 bit    boot_prepare() (boot.cc) maps the kernel at its slid address and relocates it
#   high half take the boot stack with its guard page, continue in boot_high() (boot.cc)
#
# Only the first CPU to arrive goes on; any other halts until it is started by IPI.
# SAFETY: until the high half nothing else runs, and every address used is below the end of the loaded image.
#include "kernel/arch/x86_64/boot_layout.h"

#define CR0_PE 0x00000001
#define CR0_WP 0x00010000
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME_NXE 0x900
#define CODE_SELECTOR 0x08
#define DATA_SELECTOR 0x10
#define TABLE_ENTRY 0x3 /* present, writable */
#define LARGE_PAGE 0x83 /* present, writable, 2 MiB */

    .section .note.Xen, "a", @note
    .balign 4
    .long 4, 8, 18 /* name size, value size, XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .quad KEEL_LOAD_BASE /* kernel.ld puts pvh_entry there */

    .section .text.boot, "ax"
    .code32
    .globl pvh_entry
pvh_entry:
/* The image is linked high but this part runs low: EBP holds where pvh_entry was loaded, everything else is relative to it. */
#define LOW(symbol) (symbol - pvh_entry)(%ebp)
    cli
    cld
    movl $KEEL_LOAD_BASE, %ebp
    lock btsl $0, LOW(boot_cpu_taken)
    jc park
    leal LOW(boot_stack_top), %esp
    pushl $0
    pushl %ebx /* hvm_start_info, for the 64-bit part */
    rdtsc
    pushl %edx /* time stamp at entry, likewise */
    pushl %eax

    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb unsupported
    movl $0x80000001, %eax
    cpuid
    andl $((1 << 29) | (1 << 20)), %edx /* long mode, no-execute */
    cmpl $((1 << 29) | (1 << 20)), %edx
    jne unsupported

    leal TABLE_ENTRY + LOW(boot_identity_pdpt), %eax
    movl %eax, LOW(boot_pml4)
    leal LOW(boot_identity_pdpt), %edi
    leal TABLE_ENTRY + LOW(boot_identity_pds), %eax
    movl $4, %ecx
1:  movl %eax, (%edi)
    addl $4096, %eax
    addl $8, %edi
    decl %ecx
    jnz 1b
    leal LOW(boot_identity_pds), %edi
    movl $LARGE_PAGE, %eax
    movl $2048, %ecx
2:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    decl %ecx
    jnz 2b

    leal LOW(boot_pml4), %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $CR4_PAE, %eax /* comes with long mode */
    movl %eax, %cr4
    movl $MSR_EFER, %ecx
    rdmsr
    orl $EFER_LME_NXE, %eax
    wrmsr
    movl %cr0, %eax
    orl $(CR0_PG | CR0_WP | CR0_PE), %eax
    movl %eax, %cr0
    leal LOW(boot_gdt), %eax
    subl $8, %esp
    movw $(boot_gdt_end - boot_gdt - 1), 2(%esp)
    movl %eax, 4(%esp)
    lgdt 2(%esp)
    addl $8, %esp
    ljmp $CODE_SELECTOR, $(KEEL_LOAD_BASE + boot_long_mode - pvh_entry)

unsupported:
    leal LOW(boot_message), %esi
    movw $0x3f8, %dx
3:  lodsb
    testb %al, %al
    jz park
    outb %al, %dx
    jmp 3b
park:
    cli
    hlt
    jmp park

    .code64
boot_long_mode:
    movl $DATA_SELECTOR, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    popq %r12          /* time stamp at entry */
    popq %rbx          /* hvm_start_info */
    xorl %ebp, %ebp
    movl %ebx, %edi
    call boot_prepare  /* still at physical addresses; returns the slide */

    leaq high_half(%rip), %rcx
    movabsq $KEEL_VIRT_MINUS_PHYS, %rdx
    addq %rdx, %rcx
    addq %rax, %rcx
    movq %cr3, %rdx
    movq %rdx, %cr3
    jmpq *%rcx

high_half:
    leaq boot_stack_top(%rip), %rsp
    /* The descriptor table at its high address: the low mapping goes away. */
    leaq boot_gdt(%rip), %rcx
    subq $16, %rsp
    movw $(boot_gdt_end - boot_gdt - 1), 6(%rsp)
    movq %rcx, 8(%rsp)
    lgdt 6(%rsp)
    addq $16, %rsp
    movq %rbx, %rdi
    movq %rax, %rsi
    movq %r12, %rdx
    xorl %ebp, %ebp
    call boot_high
    ud2

    .section .rodata.boot, "a"
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9a000000ffff /* 64-bit code */
    .quad 0x00cf92000000ffff /* data */
boot_gdt_end:
boot_message:
    .asciz "Keel needs a 64-bit CPU with no-execute pages.\r\n"

    .section .data.boot, "aw"
    .balign 4
boot_cpu_taken:
    .long 0

    .section .bss.boot, "aw", @nobits
    .balign 4096
    .globl boot_pml4
boot_pml4:
    .skip 4096
boot_identity_pdpt:
    .skip 4096
boot_identity_pds:
    .skip 4 * 4096

    .section .note.GNU-stack, "", @progbits
