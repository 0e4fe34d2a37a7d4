// The first instructions of a program: relocates it, then runs keel_start(start block, message page).
    .section .text.start, "ax", @progbits
    .globl _start
    .hidden keel_relocate, keel_start, __ehdr_start, _DYNAMIC
    .type _start, @function
_start:
    xorl %ebp, %ebp
    andq $-16, %rsp
    movq %rdi, %r12
    movq %rsi, %r13
    leaq __ehdr_start(%rip), %rdi
    leaq _DYNAMIC(%rip), %rsi
    call keel_relocate
    movq %r12, %rdi
    movq %r13, %rsi
    call keel_start
    ud2
    .size _start, . - _start

// The first instruction of a further thread: stack, then keel_thread_start(argument 0, argument 1).
    .globl keel_thread_entry
    .hidden keel_thread_entry, keel_thread_start
    .type keel_thread_entry, @function
keel_thread_entry:
    xorl %ebp, %ebp
    andq $-16, %rsp
    call keel_thread_start
    ud2
    .size keel_thread_entry, . - keel_thread_entry
    .section .note.GNU-stack, "", @progbits
