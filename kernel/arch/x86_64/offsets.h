/* Where the entry code finds things; checked against the C++ layouts in processor.cc. Plain macros: also read by
 * entry.S.
 */
#pragma once

/* Cpu, its first member CpuState first */
#define CPU_SELF 0
#define CPU_STACK 8
#define CPU_ENTER_SYSTEM_CALL 16
#define CPU_ENTER_TRAP 24
#define CPU_ENTER_PANIC 32
#define CPU_FINISH_ENTRY 40
#define CPU_FAST_INTERRUPT 48
#define CPU_DISPATCH 64
#define CPU_CURRENT (64 + 256 * 8 + 16)
#define CPU_TRACE (CPU_CURRENT + 8) /* TraceRing: count, records */
#define TRACE_RECORDS 1024
#define TRACE_RECORD_SHIFT 5
#define TRACE_ENTER 6

/* KObject */
#define OBJECT_ID 0x60

/* Thread: its ThreadState */
#define THREAD_STATE 192
#define T_RIP (THREAD_STATE + 0)
#define T_RSP (THREAD_STATE + 8)
#define T_RBX (THREAD_STATE + 16)
#define T_RBP (THREAD_STATE + 24)
#define T_RAX (THREAD_STATE + 32)
#define T_RDI (THREAD_STATE + 40)
#define T_WORD0 (THREAD_STATE + 48) /* rsi rdx r8 r9 r12 r13 r14 r15 */
#define T_RCX (THREAD_STATE + 112)
#define T_R10 (THREAD_STATE + 120)
#define T_R11 (THREAD_STATE + 128)
#define T_RFLAGS (THREAD_STATE + 136)
#define T_RESUME (THREAD_STATE + 160)
#define T_CONTEXT 0x520
#define T_PROCESS 0x530
#define CONTEXT_TRACE 0x20 /* SchedulingContext */

#define FIRST_DEVICE_VECTOR 0x30
#define LAST_DEVICE_VECTOR 0xef
#define BAD_CAPABILITY 1 /* Status */
#define USER_FLAGS 0x202
#define KERNEL_CODE 0x08
#define KERNEL_DATA 0x10
#define USER_DATA 0x1b /* SYSRET wants data right below code */
#define USER_CODE 0x23
#define TASK_STATE 0x28

#define ENTRY_TEXT_BYTES 0x2000

/* Where further CPUs start, in the first MiB: a page of code and three of page tables (startup.S, startup.cc) */
#define STARTUP_PAGE 0x8000
