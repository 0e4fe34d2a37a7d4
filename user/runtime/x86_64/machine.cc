// SYSCALL: rax = number and descriptor, rdi = capability in and badge out, words in rsi rdx r8 r9 r12 r13 r14 r15.
// rcx, r10 and r11 are destroyed; so is all vector and x87 state whenever the call waited.
#include "user/runtime/machine.h"

#include "user/runtime/syscall.h"
#include "user/runtime/thread_block.h"

// The canaries of this process's stacks; chosen by keel_start().
extern "C" {
[[gnu::visibility("hidden")]] constinit keel::u64 __stack_chk_guard = 0;
// Called by the function whose buffer was overrun. The kernel's crash line knows these registers.
[[noreturn, gnu::visibility("hidden"), gnu::no_stack_protector]] void __stack_chk_fail() {
  asm volatile("ud2" : : "a"(keel::kStackOverrunMark), "D"(__builtin_return_address(0)));
  __builtin_unreachable();
}
}

namespace keel {
namespace {

struct Registers {
  u64 rax;
  u64 rdi;
};

inline Registers enter(u64 rax_in, u64 rdi_in, u64 (&w)[kRegisterWords]) {
  register u64 rax asm("rax") = rax_in;
  register u64 rdi asm("rdi") = rdi_in;
  register u64 w0 asm("rsi") = w[0];
  register u64 w1 asm("rdx") = w[1];
  register u64 w2 asm("r8") = w[2];
  register u64 w3 asm("r9") = w[3];
  register u64 w4 asm("r12") = w[4];
  register u64 w5 asm("r13") = w[5];
  register u64 w6 asm("r14") = w[6];
  register u64 w7 asm("r15") = w[7];
  asm volatile("syscall"
               : "+r"(rax), "+r"(rdi), "+r"(w0), "+r"(w1), "+r"(w2), "+r"(w3), "+r"(w4), "+r"(w5), "+r"(w6), "+r"(w7)
               :
               : "rcx", "r10", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                 "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st", "st(1)", "st(2)", "st(3)",
                 "st(4)", "st(5)", "st(6)", "st(7)");
  w[0] = w0, w[1] = w1, w[2] = w2, w[3] = w3, w[4] = w4, w[5] = w5, w[6] = w6, w[7] = w7;
  return {rax, rdi};
}

Status record(Call call, u64 capability, u64 rax) {
  const Status status = static_cast<Status>(rax & 0xff);
  if (status != Status::ok) [[unlikely]] {
    last_error() = {call, status, CapIndex(capability)};
  }
  return status;
}

u64 outgoing(Call call, const Message& m) {
  return static_cast<u64>(call) | Descriptor::make(m.word_count, m.cap_count, m.moves);
}

// Of calls that wait.
u64 with_deadline(u64 rax, const Message& m) {
  if (m.deadline == kForever) return rax;
  message_page().deadline = m.deadline.value;
  return rax | Descriptor::kDeadline;
}

Status incoming(Call call, CapIndex capability, const Registers& r, Message& m) {
  const Descriptor descriptor{r.rax};
  m.word_count = descriptor.words();
  m.cap_count = descriptor.capabilities();
  m.moves = 0;
  m.kind = static_cast<MessageKind>(descriptor.kind());
  return record(call, capability.value, r.rax);
}

}  // namespace

ThreadBlock& this_thread() {
  ThreadBlock* block;
  asm("mov %%fs:0, %0" : "=r"(block));
  return *block;
}

void set_thread_pointer(ThreadBlock& block) {
  block.self = &block;
  asm volatile("wrfsbase %0" : : "r"(&block) : "memory");
}

[[gnu::no_stack_protector]] void set_stack_canary(u64 random) { __stack_chk_guard = random & ~u64{0xff}; }

u64 read_counter() { return __builtin_ia32_rdtsc(); }

Status system_call(Call call, u64 capability, SyscallWords& words) {
  const Registers r = enter(static_cast<u64>(call), capability, words.word);
  return record(call, capability, r.rax);
}

namespace ipc {

Status call(CapIndex port, Message& m) {
  return incoming(Call::call, port, enter(with_deadline(outgoing(Call::call, m), m), port.value, m.words), m);
}

Status receive(CapIndex port, Message& m) {
  const Registers r = enter(with_deadline(static_cast<u64>(Call::receive), m), port.value, m.words);
  m.badge = r.rdi;
  return incoming(Call::receive, port, r, m);
}

Status reply_receive(CapIndex port, Message& m) {
  const Registers r = enter(with_deadline(outgoing(Call::reply_receive, m), m), port.value, m.words);
  m.badge = r.rdi;
  return incoming(Call::reply_receive, port, r, m);
}

Status send(CapIndex port, const Message& m) {
  Message copy = m;
  return record(Call::send, port.value, enter(outgoing(Call::send, m), port.value, copy.words).rax);
}

Status reply_send(CapIndex reply, const Message& m) {
  Message copy = m;
  return record(Call::reply_send, reply.value, enter(outgoing(Call::reply_send, m), reply.value, copy.words).rax);
}

Status forward(CapIndex port, const Message& m) {
  Message copy = m;
  return record(Call::forward, port.value, enter(outgoing(Call::forward, m), port.value, copy.words).rax);
}

}  // namespace ipc
}  // namespace keel
