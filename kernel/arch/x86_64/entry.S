# Where user mode enters the kernel, and where it leaves.
#
# This text is mapped once more for each CPU, directly followed by the first page of that CPU's Cpu object. So entry_cpu,
# addressed relative to the instruction pointer, is the running CPU's own, and there is no swapgs (ADR 1). The code is
# therefore position independent in the strong sense: it reaches the rest of the kernel only through pointers in Cpu.
#
# SAFETY: runs with interrupts off; each path uses only the thread's state, the CPU's stack and the registers named.
#include "kernel/arch/x86_64/offsets.h"

# The registers of a message, into the thread in r10 and out of any.
    .macro save_message
    movq %rax, T_RAX(%r10)
    movq %rdi, T_RDI(%r10)
    movq %rsi, T_WORD0+0(%r10)
    movq %rdx, T_WORD0+8(%r10)
    movq %r8, T_WORD0+16(%r10)
    movq %r9, T_WORD0+24(%r10)
    movq %r12, T_WORD0+32(%r10)
    movq %r13, T_WORD0+40(%r10)
    movq %r14, T_WORD0+48(%r10)
    movq %r15, T_WORD0+56(%r10)
    .endm
    .macro load_message thread
    movq T_RAX(\thread), %rax
    movq T_RDI(\thread), %rdi
    movq T_WORD0+0(\thread), %rsi
    movq T_WORD0+8(\thread), %rdx
    movq T_WORD0+16(\thread), %r8
    movq T_WORD0+24(\thread), %r9
    movq T_WORD0+32(\thread), %r12
    movq T_WORD0+40(\thread), %r13
    movq T_WORD0+48(\thread), %r14
    movq T_WORD0+56(\thread), %r15
    .endm

# What user mode had when it was interrupted, but for vector state; the stack is as at `trap`. Leaves r10 = thread.
    .macro save_interrupted
    pushq %r10
    movq entry_cpu+CPU_CURRENT(%rip), %r10
    save_message
    movq %rbx, T_RBX(%r10)
    movq %rbp, T_RBP(%r10)
    movq %rcx, T_RCX(%r10)
    movq %r11, T_R11(%r10)
    popq T_R10(%r10)
    movq 16(%rsp), %rax
    movq %rax, T_RIP(%r10)
    movq 32(%rsp), %rax
    movq %rax, T_RFLAGS(%r10)
    movq 40(%rsp), %rax
    movq %rax, T_RSP(%r10)
    movq $1, T_RESUME(%r10)
    .endm
# User mode may have set alignment check (which lifts SMAP) or direction.
    .macro kernel_flags
    pushq $2
    popfq
    .endm

# To the thread in rcx, with the message as it is.
    .macro leave_kernel
    movq T_RBX(%rcx), %rbx
    movq T_RBP(%rcx), %rbp
    movq T_RSP(%rcx), %rsp
    movq T_RIP(%rcx), %rcx
    movl $USER_FLAGS, %r11d
    xorl %r10d, %r10d
    sysretq
    .endm

    .section .text.entry, "ax", @progbits
    .balign 4096
    .globl entry_text
entry_text:

# SYSCALL: rax = call and descriptor, rdi = capability, words in rsi rdx r8 r9 r12-r15; rcx = return address, r11 = flags.
# Goes to the call's path with r10 = thread, r11 = cpu and everything else as it was, but for rbx (call number) and rcx.
    .globl entry_system_call
entry_system_call:
    movq entry_cpu+CPU_CURRENT(%rip), %r10
    movq %rcx, T_RIP(%r10)
    movq %rsp, T_RSP(%r10)
    movq %rbx, T_RBX(%r10)
    movq %rbp, T_RBP(%r10)
    movq entry_cpu+CPU_SELF(%rip), %r11
    movq CPU_STACK(%r11), %rsp
    movzbl %al, %ebx
    jmpq *CPU_DISPATCH(%r11,%rbx,8)

# The path of every call that has none of its own.
    .globl entry_slow_call
entry_slow_call:
    movq CPU_CURRENT(%r11), %r10
    save_message
    movq %r11, %rbx
    movq %r11, %rdi
    xorl %ebp, %ebp
    callq *CPU_ENTER_SYSTEM_CALL(%r11)

# rax = thread or null, rbx = cpu
    .globl entry_resume
entry_resume:
    testq %rax, %rax
    jz idle
    movq %rax, %rcx
    cmpq $0, T_RESUME(%rcx)
    jne resume_interrupted

# rcx = thread, its message in its state.
    .globl entry_fast_resume
entry_fast_resume:
    load_message %rcx

# The end of the fast paths: rcx = thread, the message in its registers.
    .globl entry_fast_exit
entry_fast_exit:
    leave_kernel

    .globl entry_bad_capability
entry_bad_capability:
    movl $BAD_CAPABILITY, %eax
    xorl %edi, %edi
    leave_kernel

# The fast path has switched threads; the timer, or registers that it does not know of, are still to be set.
    .globl entry_leave
entry_leave:
    movq %r11, %rbx
    movq %r11, %rdi
    xorl %ebp, %ebp
    callq *CPU_FINISH_ENTRY(%r11)
    jmp entry_resume

resume_interrupted:
    movq %rcx, %r10
    movq $0, T_RESUME(%r10)
    movq CPU_STACK(%rbx), %rsp
    pushq $USER_DATA
    pushq T_RSP(%r10)
    pushq T_RFLAGS(%r10)
    pushq $USER_CODE
    pushq T_RIP(%r10)
    load_message %r10
    movq T_RBX(%r10), %rbx
    movq T_RBP(%r10), %rbp
    movq T_RCX(%r10), %rcx
    movq T_R11(%r10), %r11
    movq T_R10(%r10), %r10
    iretq

idle:
    movq CPU_STACK(%rbx), %rsp
1:  sti
    hlt
    cli
    jmp 1b

# Every interrupt and exception arrives here with: vector, error code, rip, cs, rflags, rsp, ss on its stack.
trap:
    testb $3, 24(%rsp)
    jz trap_in_kernel
    save_interrupted
trap_handle:
    movq entry_cpu+CPU_SELF(%rip), %rbx
    movq (%rsp), %rsi
    movq 8(%rsp), %rdx
    movq CPU_STACK(%rbx), %rsp
    kernel_flags
    movq %rbx, %rdi
    xorl %ebp, %ebp
    callq *CPU_ENTER_TRAP(%rbx)
    jmp entry_resume

# A device's interrupt, as above.
interrupt:
    testb $3, 24(%rsp)
    jz trap_in_kernel
    save_interrupted
    movq entry_cpu+CPU_SELF(%rip), %r11
    movq (%rsp), %rdi
    kernel_flags
    jmpq *CPU_FAST_INTERRUPT(%r11)

# rdi = vector, r11 = cpu
    .globl entry_slow_interrupt
entry_slow_interrupt:
    movq %r11, %rbx
    movq %rdi, %rsi
    movq %r11, %rdi
    xorl %edx, %edx
    xorl %ebp, %ebp
    movq CPU_STACK(%rbx), %rsp
    callq *CPU_ENTER_TRAP(%rbx)
    jmp entry_resume

# In kernel mode interrupts are let in only while idle; anything else is a bug, but for a debug exception that was
# pending across SYSCALL, which is dropped.
trap_in_kernel:
    cmpq $1, (%rsp)
    je trap_dropped
    cmpq $32, (%rsp)
    jb trap_panic
    cmpq $0, entry_cpu+CPU_CURRENT(%rip)
    je trap_handle
trap_panic:
    pushq %r15
    pushq %r14
    pushq %r13
    pushq %r12
    pushq %r11
    pushq %r10
    pushq %r9
    pushq %r8
    pushq %rbp
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %rbx
    pushq %rax
    movq entry_cpu+CPU_SELF(%rip), %rdi
    movq %rsp, %rsi
    andq $-16, %rsp
    cld
    callq *CPU_ENTER_PANIC(%rdi)
    ud2
trap_dropped:
    addq $16, %rsp
    iretq

# One stub of 16 bytes per vector. Vectors whose exceptions push an error code push none here.
    .balign 16
    .globl entry_vectors
entry_vectors:
    .set vector, 0
    .rept 256
    .balign 16
    .if (vector == 8) || (vector == 10) || (vector == 11) || (vector == 12) || (vector == 13) || (vector == 14) || (vector == 17) || (vector == 21)
    .else
    pushq $0
    .endif
    pushq $vector
    .if (vector >= FIRST_DEVICE_VECTOR) && (vector <= LAST_DEVICE_VECTOR)
    jmp interrupt
    .else
    jmp trap
    .endif
    .set vector, vector + 1
    .endr
    .globl entry_text_end
entry_text_end:

# The traced paths (kernel/ipc/fast.h): a record of the call that begins, then the path as if nothing had been. Not part of
# the text above; registers as at the end of entry_system_call.
    .section .text, "ax", @progbits
    .macro traced name
    .balign 16
    .globl traced_\name
traced_\name:
    movq %rax, %rcx
    movq %rdx, %rbp
    rdtsc
    shlq $32, %rdx
    orq %rax, %rdx
    movl CPU_TRACE(%r11), %eax
    incq CPU_TRACE(%r11)
    andl $(TRACE_RECORDS - 1), %eax
    shll $TRACE_RECORD_SHIFT, %eax
    movq %rdx, CPU_TRACE+8+0(%r11,%rax)
    shll $8, %ebx
    orl $TRACE_ENTER, %ebx
    movl %ebx, CPU_TRACE+8+8(%r11,%rax)
    movl OBJECT_ID(%r10), %edx
    movl %edx, CPU_TRACE+8+12(%r11,%rax)
    movq %rdi, CPU_TRACE+8+16(%r11,%rax)
    movq T_PROCESS(%r10), %rdx
    movl OBJECT_ID(%rdx), %edx
    movl %edx, CPU_TRACE+8+24(%r11,%rax)
    movq T_CONTEXT(%r10), %rdx
    movl CONTEXT_TRACE(%rdx), %edx
    movl %edx, CPU_TRACE+8+28(%r11,%rax)
    movq %rcx, %rax
    movq %rbp, %rdx
    jmp fast_\name
    .endm
    traced call
    traced reply_receive
    traced signal
    traced wait
    traced yield
    traced derive

    .section .note.GNU-stack, "", @progbits
