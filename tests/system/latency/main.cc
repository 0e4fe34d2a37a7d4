// What could keep interrupts off for long: each boot does one of these (test=N), while a plugin of the emulator
// counts the longest stretch of instructions in the kernel (tools/lib/irqs_off.c, tools/bench).
#include <cstring>
#include <vector>

#include "tests/system/report.h"
#include "user/runtime/clock.h"
#include "user/runtime/syscall.h"

using namespace keel;

namespace {

using report::end;
using report::say;

void need(Status status, const char* what) {
  if (status == Status::ok) return;
  char line[150];
  say(format_to(line, "latency failed: {}: {}", what, status));
  end(false);
}
template <class T>
T need(Result<T> result, const char* what) {
  need(result.status(), what);
  return *std::move(result);
}

// Code of children, mapped at any address.
asm(R"(
    .section .rodata
    .balign 64
    .globl latency_code, latency_code_end
latency_code:             # rdi: what, rsi: its operand
    cmpq $1, %rdi
    je 1f
    cmpq $2, %rdi
    je 2f
    cmpq $3, %rdi
    je 3f
    cmpq $4, %rdi
    je 4f
    cmpq $5, %rdi
    je 6f
1:  movq %rsi, %rdi       # waits for a notification
    movq $-1, %rsi
    movl $46, %eax
    syscall
    ud2
2:  movq %rsi, %rdi       # calls a port
    movl $33, %eax
    syscall
    movl $12, %eax
    syscall
3:  movq $-1, %r8         # waits on a word, which is 0
    xorl %edx, %edx
    movl $50, %eax
    syscall
    movl $12, %eax
    syscall
4:  movq %rsi, %rbx       # reads the log for ever
    xorl %esi, %esi
5:  movq %rbx, %rdi
    movq $-1, %rdx
    movl $82, %eax
    syscall
    incq %rsi
    jmp 5b
6:  movq %rsi, %rdi       # waits for a process
    movq $-1, %rsi
    movl $4, %eax
    syscall
    movl $12, %eax
    syscall
latency_code_end:
    .text
)");
extern "C" {
[[gnu::visibility("hidden")]] extern const char latency_code[], latency_code_end[];
}

u64 g_code;  // the memory object

struct Child {
  CapIndex process, space;
  u64 at;
};
Child child() {
  const auto made = need(sys::process_create(self().group, 0x79636e6574616c, 0, 0), "process_create");
  return {made.process, made.space, need(sys::space_map(made.space, g_code, 0, 1, 5, 0), "space_map")};
}
void thread(const Child& c, u64 what, u64 operand) {
  const auto t = need(sys::thread_create(c.process, kNormalLevel + 8), "thread_create");
  need(sys::thread_start(t.thread, c.at, c.at + kPageSize, what, operand).status(), "thread_start");
  need(sys::cap_delete(t.thread).status(), "cap_delete");
}
void finish(const Child& c) {
  static_cast<void>(sys::process_kill(c.process, 1));
  static_cast<void>(need(sys::process_wait(c.process, after(100 * kSecond)), "process_wait"));
}

void revoke() {
  const CapIndex root = need(sys::notification_create(self().group), "notification");
  const Child c[2] = {child(), child()};
  for (u32 i = 0; i < 100'000; ++i) {
    need(sys::cap_grant(c[i % 2].process, root.value, 0x3f, 0).status(), "cap_grant");
  }
  need(sys::cap_revoke(root).status(), "cap_revoke");
}
void teardown() {
  const Child c = child();
  for (u32 i = 0; i < 16; ++i) {
    const CapIndex memory = need(sys::memory_create(self().group, 16'384, 0), "memory_create");
    const u64 at = need(sys::space_map(c.space, memory.value, 0, 16'384, 3, 0), "space_map");
    const u64 here = need(sys::space_map(self().space, memory.value, 0, 16'384, 3, 0), "space_map");
    for (u64 page = 0; page < 16'384; ++page) *reinterpret_cast<volatile u64*>(here + page * kPageSize) = at;
    need(sys::space_unmap(self().space, here, 16'384 * kPageSize).status(), "space_unmap");
    need(sys::cap_delete(memory).status(), "cap_delete");
  }
  thread(c, 1,
         need(sys::cap_grant(c.process, need(sys::notification_create(self().group), "n").value, 0x3f, 0), "grant"));
  finish(c);
}
void threads() {
  const Child c = child();
  const u64 bell =
      need(sys::cap_grant(c.process, need(sys::notification_create(self().group), "n").value, 0x3f, 0), "grant");
  for (u32 i = 0; i < 1000; ++i) thread(c, 1, bell);
  finish(c);
}
void words() {
  const Child c = child();
  const CapIndex memory = need(sys::memory_create(self().group, 1, 0), "memory_create");
  const u64 there = need(sys::space_map(c.space, memory.value, 0, 1, 3, 0), "space_map");
  const u64 here = need(sys::space_map(self().space, memory.value, 0, 1, 3, 0), "space_map");
  *reinterpret_cast<volatile u32*>(here) = 0;
  for (u32 i = 0; i < 1000; ++i) thread(c, 3, there);
  while (need(sys::word_wake(here, 1000), "word_wake") != 0) {
  }
  finish(c);
}
void port() {
  const CapIndex port = need(sys::port_create(self().group, 0), "port_create");
  const Child c = child();
  const u64 target = need(sys::cap_grant(c.process, port.value, rights::port::call, 0), "grant");
  for (u32 i = 0; i < 1000; ++i) thread(c, 2, target);
  need(sys::cap_delete(port).status(), "cap_delete");  // the last right to receive
  finish(c);
}
void dma() {
  const CapIndex domain = need(sys::dma_create(find_capability("control"), self().group), "dma_create");
  const CapIndex memory = need(sys::memory_create(self().group, 448, 0), "memory_create");
  need(sys::dma_map(domain, memory, 0, 448).status(), "dma_map");
  need(sys::dma_release(domain).status(), "dma_release");
}
void eager() {
  const CapIndex memory = need(sys::memory_create(self().group, 16'384, 1), "memory_create");
  need(sys::cap_delete(memory).status(), "cap_delete");
}
void contiguous() {
  const CapIndex memory = need(sys::memory_create(self().group, 1000, 2), "memory_create");
  need(sys::cap_delete(memory).status(), "cap_delete");
}
void populate() {
  const CapIndex memory = need(sys::memory_create(self().group, 64, 0), "memory_create");
  static_cast<void>(need(sys::space_map(self().space, memory.value, 0, 64, 3 | 16, 0), "space_map"));
}
void clone() {
  constexpr u64 kPages = 70'000;  // three levels of radix nodes
  const CapIndex memory = need(sys::memory_create(self().group, kPages, 0), "memory_create");
  const u64 at = need(sys::space_map(self().space, memory.value, 0, kPages, 3, 0), "space_map");
  const auto touch = [&](u64 step) {
    for (u64 page = 0; page < kPages; page += step) *reinterpret_cast<volatile u64*>(at + page * kPageSize) = page;
  };
  touch(1);
  // A table's worth of mappings that each cover a part of it, so that a withdrawal goes from page to page.
  for (u64 page = 0; page < 512; page += 16) {
    static_cast<void>(need(sys::space_map(self().space, memory.value, page, 16, 3 | 16, 0), "space_map"));
  }
  for (u32 i = 0; i < 4; ++i) {
    const CapIndex made = need(sys::memory_clone(memory, self().group), "memory_clone");
    touch(i < 2 ? 300 : 1);  // copies nodes, all full, and pages
    need(sys::cap_delete(made).status(), "cap_delete");
  }
}
void list() {
  const Child c = child();
  const u64 bell =
      need(sys::cap_grant(c.process, need(sys::notification_create(self().group), "n").value, 0x3f, 0), "grant");
  for (u32 i = 0; i < 1000; ++i) thread(c, 1, bell);
  const CapIndex control = find_capability("control");
  const u64 number = need(sys::process_info(c.process), "process_info").id;
  u64 last = 0;
  for (u32 i = 0; i < 1000; ++i) last = need(sys::thread_list(control, number, last), "thread_list").id;
  for (u64 after : {last - 1, u64{0}, last}) static_cast<void>(sys::thread_list(control, number, after));
  finish(c);
}
void exit() {
  const Child waiters = child(), c = child();
  const u64 watched = need(sys::cap_grant(waiters.process, c.process.value, rights::process::wait, 0), "grant");
  for (u32 i = 0; i < 1000; ++i) thread(waiters, 5, watched);
  finish(c);
  sleep_until(after(200 * kMillisecond));
  finish(waiters);
}
void log() {
  const Child c = child();
  const u64 control =
      need(sys::cap_grant(c.process, find_capability("control").value, rights::kernel_control::log_read, 0), "grant");
  for (u32 i = 0; i < 100; ++i) thread(c, 4, control);
  for (u32 i = 0; i < 300; ++i) {
    std::memset(message_page().words, 'x', 240);
    static_cast<void>(sys::log_write(find_capability("control"), 240, 2));
  }
  finish(c);
}

}  // namespace

int main() {
  const CapIndex code = need(sys::memory_create(self().group, 1, 0), "memory_create");
  const u64 here = need(sys::space_map(self().space, code.value, 0, 1, 3, 0), "space_map");
  std::memcpy(reinterpret_cast<void*>(here), latency_code, usize(latency_code_end - latency_code));
  need(sys::space_unmap(self().space, here, kPageSize).status(), "space_unmap");
  g_code = code.value;
  need(sys::thread_set_level(self().thread, kNormalLevel).status(), "level");
  constexpr void (*kWhat[])() = {&revoke, &teardown,   &threads,  &words, &port, &dma,  &log,
                                 &eager,  &contiguous, &populate, &list,  &exit, &clone};
  const u64 n = report::amount();
  if (n < sizeof(kWhat) / sizeof(kWhat[0])) kWhat[n]();
  sleep_until(after(200 * kMillisecond));  // what is left over
  say("latency done");
  end(true);
}
