// The parts of the binary interface that are shapes rather than tables: capability indices, message descriptors, the
// message page, saved registers. Shared by kernel, user space and host tests.
#pragma once

#include <cstddef>

#include "base/types.h"

namespace keel {

// A capability's index in its holder's space: slot number in bits 5-20, the slot's generation in bits 32-63. The other
// bits are zero. 0 names nothing.
struct CapIndexTag;
using CapIndex = Strong<CapIndexTag>;
inline constexpr CapIndex kNoCapability{0};

// Nanoseconds since boot. 0 is always past (poll); kForever never comes and arms no timer.
struct DeadlineTag;
using Deadline = Strong<DeadlineTag>;
inline constexpr Deadline kForever{~u64{0}};
inline constexpr Deadline kPoll{0};

// rax on entry: call number in bits 0-7, and for calls that carry a message its descriptor:
//   bits 8-16   words (0-480)
//   bits 20-22  capabilities (0-4), in MessagePage::capabilities
//   bits 24-27  bit i: capability i is moved, not copied
//   bit 28      MessagePage::deadline holds
// rax on exit: status in bits 0-7 and the descriptor of the message received (words, capabilities) plus
//   bits 30-31  what was received: MessageKind
struct Descriptor {
  static constexpr u64 kWordsShift = 8;
  static constexpr u64 kWordsMask = 0x1ff;
  static constexpr u64 kCapsShift = 20;
  static constexpr u64 kCapsMask = 7;
  static constexpr u64 kMoveShift = 24;
  static constexpr u64 kMoveMask = 15;
  static constexpr u64 kDeadline = u64{1} << 28;
  static constexpr u64 kKindShift = 30;

  u64 raw = 0;
  constexpr u32 words() const { return u32(raw >> kWordsShift & kWordsMask); }
  constexpr u32 capabilities() const { return u32(raw >> kCapsShift & kCapsMask); }
  constexpr u32 moves() const { return u32(raw >> kMoveShift & kMoveMask); }
  constexpr bool has_deadline() const { return (raw & kDeadline) != 0; }
  constexpr u32 kind() const { return u32(raw >> kKindShift & 3); }
  static constexpr u64 make(u32 words, u32 capabilities = 0, u32 moves = 0) {
    return u64{words} << kWordsShift | u64{capabilities} << kCapsShift | u64{moves} << kMoveShift;
  }
};

enum class MessageKind : u8 {
  call = 0,    // a caller waits for the reply
  send = 1,    // asynchronous; nobody waits
  signal = 2,  // bits of the notification bound to the port, in word 0; badge 0
  fault = 3,   // a thread faulted and waits; words: FaultMessage
};

inline constexpr u32 kRegisterWords = 8;
inline constexpr u32 kMaxMessageWords = 480;
inline constexpr u32 kMaxMessageCaps = 4;

// One page per thread, mapped read-write in its process and pinned. The kernel reads each word at most once per call.
struct MessagePage {
  u64 words[kMaxMessageWords];        // words 8 and on of a message; words 0-7 are in registers
  u64 capabilities[kMaxMessageCaps];  // in: indices to send; out: indices received
  u64 deadline;                       // of call, reply_receive and receive, when the descriptor says so
  u64 reserved[27];
};
static_assert(sizeof(MessagePage) == 4096);

// What a fault handler receives in words 0-7 (kind MessageKind::fault), and answers in word 0.
enum class FaultKind : u64 {
  page = 1,  // address = what was touched; detail: bit 0 present, bit 1 write, bit 4 instruction fetch
  divide = 2,
  breakpoint = 3,
  illegal_instruction = 4,
  protection = 5,  // general protection; detail = error code
  floating_point = 6,
  alignment = 7,
  debug = 8,
  stack = 9,   // stack segment or non-canonical stack address
  other = 10,  // detail = vector
};
// What people are told. What a page fault was is in its detail.
constexpr const char* fault_name(FaultKind kind) {
  switch (kind) {
    case FaultKind::page:
      return "bad memory access";
    case FaultKind::divide:
      return "division error";
    case FaultKind::breakpoint:
      return "breakpoint";
    case FaultKind::illegal_instruction:
      return "illegal instruction";
    case FaultKind::protection:
      return "protection violation";
    case FaultKind::floating_point:
      return "floating-point error";
    case FaultKind::alignment:
      return "misaligned access";
    case FaultKind::debug:
      return "debug exception";
    case FaultKind::stack:
      return "bad stack";
    case FaultKind::other:
      return "exception";
  }
  return "exception";
}
// In rax at an illegal instruction: a function, whose address is in rdi, has found a buffer on its stack overrun.
inline constexpr u64 kStackOverrunMark = 0x7374'6163'6b00'ca4a;
// The exit status of a process that died of a fault: this and the FaultKind.
inline constexpr u64 kFaultStatus = u64{0xfa17} << 32;
enum class FaultAnswer : u64 { kill = 0, resume = 1 };

// thread_registers / thread_set_registers, in the message page from word 0.
struct ThreadRegisters {
  u64 rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15;
  u64 rip, rflags, fs_base, gs_base;
};

// A read-only page that every process may be given: clocks without a call. One writer, the kernel, at boot, before
// anybody reads. `sequence` changes only when the scale does, and would be odd meanwhile; no kernel changes the scale
// yet, so it stays 0.
struct TimePage {
  u32 sequence;
  u32 shift;
  u64 multiplier;  // ns = ((tsc - tsc_base) * multiplier) >> shift, with a 128-bit product
  u64 tsc_base;
  u64 ns_base;      // added to the above
  u64 wall_base_s;  // seconds since 1970 at ns 0, from the machine's clock; 0 if unknown
};

// What a CPU did: one record of its trace ring.
enum class TraceEvent : u8 {
  none = 0,
  call = 1,       // code: call number; status; data: the capability it named
  switch_to = 2,  // the thread begins to run; thread 0: idle
  fault = 3,      // code: FaultKind; data: address
  interrupt = 4,  // code: vector
  kill = 5,       // thread 0; data: the process that is killed
  enter = 6,      // a call that has a fast path begins, code, data: as of a call; `call` follows if it leaves that path
};
struct TraceRecord {
  u64 tsc = 0;
  TraceEvent event = TraceEvent::none;
  u8 code = 0;
  u16 status = 0;
  u32 thread = 0;
  u64 data = 0;
  u32 process = 0;
  u32 trace = 0;  // low half of the trace id of the context that the thread ran on
};
static_assert(sizeof(TraceRecord) == 32);
inline constexpr u32 kTraceRecordsPerRead = 120;

// What somebody did with authority: one record of a CPU's audit ring. Identities are the kernel's: numbers of processes
// and objects, which are never used again.
enum class AuditEvent : u8 {
  none = 0,
  grant = 1,     // `process` gave `other` a capability; process 0: the kernel did
  derive = 2,    // in its own space
  revoke = 3,    // took back what was derived from its capability
  transfer = 4,  // as grant, in a message
  denial = 5,    // a call was refused: `status` says why, `other` is the index that it named
  seal = 6,
  unseal = 7,  // `process` got what `other` had sealed
  expire = 8,  // a lifetime ended; process 0
  weaken = 9,  // made a setting of the kernel weaker: `object` is its number (enum Knob), `other` its value now
};
struct AuditRecord {
  u64 sequence = 0;
  u64 time_ns = 0;
  u64 process = 0;
  u64 other = 0;
  u64 object = 0;  // 0: unknown, for the capability named nothing
  AuditEvent event = AuditEvent::none;
  u8 kind = 0;     // ObjectKind
  u16 rights = 0;  // that were given; of a denial those that the capability has
  u8 status = 0;
  u8 call = 0;
  u16 repeated = 0;  // so many more of the same followed at once
};
static_assert(sizeof(AuditRecord) == 48);
inline constexpr u32 kAuditRecordsPerRead = 80;

// capability_list: what a node of a derivation tree stands for.
enum class NodeWhat : u8 {
  capability = 1,
  deleted = 2,  // its holder gave it up or died; what was derived from it is still there
  lease = 3,    // what is below it ends at a time
};

// How much a record of the log matters. Those up to notice are shown on the console, the others are kept for readers.
enum class LogLevel : u8 { error = 0, warning = 1, notice = 2, info = 3, debug = 4 };
// log_read: the kernel showed the record on its early console.
inline constexpr u32 kLogShown = 0x100;

// system_power, and the manager's power.
enum class PowerAction : u64 {
  reset = 0,
  off = 1,     // system_power: leaves the emulator with success
  failed = 2,  // system_power only: leaves the emulator with failure, as a test that failed does
};

// Levels of the scheduler: five classes with priorities inside.
inline constexpr u32 kLevels = 64;
inline constexpr u32 kIdleLevel = 0;
inline constexpr u32 kLowLevel = 4;
inline constexpr u32 kNormalLevel = 16;
inline constexpr u32 kHighLevel = 32;
inline constexpr u32 kRealTimeLevel = 48;

}  // namespace keel
