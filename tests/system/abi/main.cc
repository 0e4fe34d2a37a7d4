// The system calls on the machine itself, as the first process sees them. Each line of output is a result in TAP form.
#include <algorithm>
#include <array>
#include <cstring>

#include "abi/fuzz_calls.h"
#include "base/format.h"
#include "user/runtime/capabilities.h"
#include "user/runtime/channel.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"
#include "user/runtime/syscall.h"
#include "user/runtime/thread.h"
#include "user/runtime/thread_block.h"

using namespace keel;

namespace {

u32 g_results = 0;
u32 g_failures = 0;

void say(std::string_view text) {
  memcpy(message_page().words, text.data(), text.size());
  (void)sys::log_write(find_capability("control"), text.size(), 2);
}
void result(bool good, std::string_view name) {
  char line[200];
  ++g_results;
  if (!good) ++g_failures;
  say(format_to(line, "{} {} - {}", good ? std::string_view("ok") : std::string_view("not ok"), g_results, name));
}
// Many checks that make one result.
class Check {
 public:
  explicit Check(const char* name) : name_(name) {}
  ~Check() { result(failed_ == 0 && checks_ > 0, name_); }
  void that(bool good, std::string_view what, u64 detail = 0) {
    ++checks_;
    if (good || ++failed_ > 5) return;
    char line[200];
    say(format_to(line, "# {}: {} ({:#x})", name_, what, detail));
  }

 private:
  const char* name_;
  u32 checks_ = 0;
  u32 failed_ = 0;
};

u64 now() { return sys::system_info(find_capability("control"))->uptime_ns; }
u64 free_pages() { return sys::system_info(find_capability("control"))->free_pages; }
// What is charged once nothing changes any more: other CPUs may still be freeing what was before.
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
// The objects that a CPU keeps at hand hold slabs open: up to one each, where CPUs free what others made
// (kernel/mm/magazines.h: 16 of each of 14 sizes).
u64 cache_slack() {
  const u64 cpus = sys::system_info(find_capability("control"))->cpus;
  return cpus == 1 ? 8 : cpus * 14 * 16;
}
// Waits until the kernel's objects are gone: it frees in steps, on whichever CPU.
void expect_kernel_bytes(Check& check, u64 before) {
  const CapIndex group = self().group;
  const Deadline limit(now() + 5'000'000'000);
  while (sys::group_info(group)->kernel_bytes != before && now() < limit.value) (void)sys::yield();
  check.that(sys::group_info(group)->kernel_bytes == before, "kernel bytes",
             sys::group_info(group)->kernel_bytes - before);
}
// Runs other work until the memory is back; the kernel frees in steps.
void expect_free(Check& check, u64 before, u64 slack = 0) {
  u64 after = 0;
  for (u32 i = 0; i < 2000; ++i) {
    after = free_pages();
    if (after + slack >= before) break;
    (void)sys::yield();
  }
  check.that(after + slack >= before, "pages are gone", before - after);
}

// --- Rights

CapIndex g_held[32];

void test_rights() {
  CapIndex group = self().group;
  CapIndex control = find_capability("control");
  CapIndex notification = *sys::notification_create(group);
  const auto hold = [](ObjectKind kind, CapIndex index) { g_held[u32(kind)] = index; };
  hold(ObjectKind::process, sys::process_create(group, 'x', 0, 0)->process);
  hold(ObjectKind::thread, sys::thread_create(g_held[u32(ObjectKind::process)], 1)->thread);
  hold(ObjectKind::memory, *sys::memory_create(group, 4, 0));
  hold(ObjectKind::port, *sys::port_create(group, 1));
  hold(ObjectKind::reply, *sys::reply_create(group));
  hold(ObjectKind::notification, notification);
  hold(ObjectKind::wait_set, *sys::wait_set_create(group));
  hold(ObjectKind::scheduling_context, *sys::context_create(group));
  hold(ObjectKind::timer, *sys::timer_create(group, notification, 1));
  hold(ObjectKind::interrupt_control, find_capability("irq"));
  hold(ObjectKind::interrupt, sys::interrupt_create_message(find_capability("irq"), group)->interrupt);
  hold(ObjectKind::io_ports, find_capability("io"));
  hold(ObjectKind::dma_domain, *sys::dma_create(control, group));
  hold(ObjectKind::group, group);
  hold(ObjectKind::kernel_control, control);
  hold(ObjectKind::address_space, self().space);
  hold(ObjectKind::sealer, find_capability("sealer"));
  char name[80];
  for (const FuzzCall& c : kFuzzCalls) {
    if (c.target.kind == ObjectKind::none) continue;
    Check check(c.name);
    std::array<u64, 8> words{};
    for (u32 i = 0; i < 8; ++i) {
      if (c.args[i] == FuzzArg::capability) words[i] = g_held[u32(c.caps[i].kind)].value;
    }
    const auto run = [&](u64 target) {
      SyscallWords io;
      for (u32 i = 0; i < 8; ++i) io.word[i] = words[i];
      return system_call(Call(c.number), target, io);
    };
    const auto without = [](ObjectKind kind, Rights missing) {
      return *sys::cap_derive(g_held[u32(kind)], all_rights(kind) & ~missing, 0);
    };
    check.that(run(0) == Status::bad_capability, "no capability");
    check.that(run(~u64{0}) == Status::bad_capability, "made-up capability");
    for (u32 kind = 1; kind < 32; ++kind) {
      if (g_held[kind] == kNoCapability || kind == u32(c.target.kind)) continue;
      check.that(run(g_held[kind].value) == Status::wrong_kind, "other kind", kind);
    }
    for (u32 bit = 0; bit < 16; ++bit) {
      if ((c.target.rights >> bit & 1) == 0) continue;
      CapIndex weak = without(c.target.kind, Rights(1u << bit));
      check.that(run(weak.value) == Status::missing_right, format_to(name, "without right {}", bit));
      (void)sys::cap_delete(weak);
    }
    const u64 target = g_held[u32(c.target.kind)].value;
    for (u32 i = 0; i < 8; ++i) {
      if (c.args[i] != FuzzArg::capability) continue;
      const u64 good = words[i];
      words[i] = ~u64{0};
      check.that(run(target) == Status::bad_capability, "made-up argument");
      words[i] = g_held[u32(c.caps[i].kind == ObjectKind::group ? ObjectKind::reply : ObjectKind::group)].value;
      check.that(run(target) == Status::wrong_kind, "argument of another kind");
      for (u32 bit = 0; bit < 16; ++bit) {
        if ((c.caps[i].rights >> bit & 1) == 0) continue;
        CapIndex weak = without(c.caps[i].kind, Rights(1u << bit));
        words[i] = weak.value;
        check.that(run(target) == Status::missing_right, format_to(name, "argument without right {}", bit));
        (void)sys::cap_delete(weak);
      }
      words[i] = good;
    }
  }
  for (ObjectKind kind : {ObjectKind::process, ObjectKind::thread, ObjectKind::memory, ObjectKind::port,
                          ObjectKind::reply, ObjectKind::notification, ObjectKind::wait_set, ObjectKind::timer,
                          ObjectKind::interrupt, ObjectKind::dma_domain}) {
    (void)sys::cap_delete(g_held[u32(kind)]);
  }
  Check unknown("unknown calls");
  for (u32 number : {0u, 9u, 199u, 200u, 255u}) {
    SyscallWords io;
    unknown.that(system_call(Call(number), 0, io) == Status::unknown_call, "number", number);
  }
}

// --- Time

void test_time() {
  CapIndex n = *sys::notification_create(self().group);
  {
    Check check("deadlines elapse");
    for (u64 wait : {u64{0}, u64{1}, u64{50'000}, u64{3'000'000}, u64{25'000'000}}) {
      const u64 until = now() + wait;
      check.that(sys::notification_wait(n, Deadline(until)).status() == Status::timed_out, "timed out", wait);
      check.that(now() >= until, "not before its time", wait);
    }
    check.that(sys::notification_wait(n, kPoll).status() == Status::timed_out, "poll");
  }
  {
    Check check("timers go off");
    CapIndex timer = *sys::timer_create(self().group, n, 2);
    const u64 at = now() + 2'000'000;
    check.that(sys::timer_set(timer, Deadline(at), 0).has_value(), "set");
    auto bits = sys::notification_wait(n, kForever);
    check.that(bits.has_value() && *bits == 2 && now() >= at, "once");
    const u64 start = now();
    check.that(sys::timer_set(timer, Deadline(start + 1'000'000), 1'000'000).has_value(), "set periodic");
    for (u32 i = 0; i < 5; ++i) check.that(sys::notification_wait(n, kForever).has_value(), "periodic");
    check.that(now() >= start + 5'000'000, "five periods", now() - start);
    check.that(sys::timer_set(timer, Deadline(start), ~u64{0}).has_value(), "endless period");
    check.that(sys::notification_wait(n, kForever).has_value(), "goes off once");
    (void)sys::cap_delete(timer);
  }
  {
    Check check("time page is monotonic and agrees with the kernel");
    auto time = Mapping::map(find_capability("time"), Access::read);
    check.that(time.has_value(), "maps");
    if (time.has_value()) {
      const auto* page = time->as<const volatile TimePage>();
      const auto read = [&] {
        u32 low, high;
        asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
        const u64 tsc = u64{high} << 32 | low;
        return page->ns_base +
               u64((static_cast<unsigned __int128>(tsc - page->tsc_base) * page->multiplier) >> page->shift);
      };
      u64 last = 0;
      for (u32 i = 0; i < 2000; ++i) {
        const u64 before = i % 100 == 0 ? now() : 0;
        const u64 t = read();
        check.that(t >= last, "goes back", last - t);
        if (before != 0) check.that(before <= t && t <= now(), "differs from the kernel's", t - before);
        last = t;
      }
    }
  }
  (void)sys::cap_delete(n);
}

// --- Small programs, run in this process or in one of their own

asm(R"(
    .section .rodata
    .balign 64
    .globl abi_code, abi_code_end
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
extern "C" {
#define KEEL_CODE(name) [[gnu::visibility("hidden")]] extern const char name[]
KEEL_CODE(abi_code);
KEEL_CODE(abi_code_end);
KEEL_CODE(abi_exit);
KEEL_CODE(abi_read);
KEEL_CODE(abi_write);
KEEL_CODE(abi_jump);
KEEL_CODE(abi_divide);
KEEL_CODE(abi_breakpoint);
KEEL_CODE(abi_illegal);
KEEL_CODE(abi_in);
KEEL_CODE(abi_hlt);
KEEL_CODE(abi_cr3);
KEEL_CODE(abi_wrmsr);
KEEL_CODE(abi_int);
KEEL_CODE(abi_noncanonical);
KEEL_CODE(abi_bad_stack);
KEEL_CODE(abi_spin);
KEEL_CODE(abi_vector);
KEEL_CODE(abi_server);
KEEL_CODE(abi_take);
}

CapIndex g_code;  // memory that holds the small programs

void make_code() {
  const u64 bytes = u64(abi_code_end - abi_code);
  g_code = *sys::memory_create(self().group, (bytes + kPageSize - 1) / kPageSize, 0);
  auto here = Mapping::map(g_code, Access::read_write);
  memcpy(here->data(), abi_code, bytes);
}

struct Child {
  CapIndex process;
  CapIndex space;
  CapIndex thread;
  CapIndex memory;  // a page for data, and above it a stack
  u64 code = 0;
  u64 data = 0;
  bool ok = false;
};
Child make_child(u64 level = kNormalLevel) {
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
Status start(const Child& c, const char* code, u64 a = 0, u64 b = 0) {
  return sys::thread_start(c.thread, c.code + u64(code - abi_code), c.data + 2 * kPageSize, a, b).status();
}
void end(Child& c) {
  (void)sys::process_kill(c.process, 0);
  (void)sys::process_wait(c.process, kForever);
  for (CapIndex cap : {c.thread, c.memory, c.space, c.process}) (void)sys::cap_delete(cap);
}

// --- Faults

struct FaultCase {
  const char* name;
  const char* code;
  u64 a;
  FaultKind kind;
  u64 detail;  // bits that must be set
};

void test_faults() {
  CapIndex port = *sys::port_create(self().group, 0);
  const u64 kKernel = 0xffff'8000'0000'0000;
  // Of the child: data is at 1, code at 2.
  const FaultCase cases[] = {
      {"read of unmapped memory", abi_read, 0x10000, FaultKind::page, 0},
      {"read of null", abi_read, 0, FaultKind::page, 0},
      {"read of the kernel", abi_read, kKernel, FaultKind::page, 0},
      {"write to the kernel", abi_write, 0xffff'ffff'8010'0000, FaultKind::page, 2},
      {"jump into the kernel", abi_jump, 0xffff'ffff'8010'0000, FaultKind::page, 0},
      {"write to code", abi_write, 2, FaultKind::page, 2},
      {"execution of data", abi_jump, 1, FaultKind::page, 16},
      {"division by zero", abi_divide, 0, FaultKind::divide, 0},
      {"breakpoint", abi_breakpoint, 0, FaultKind::breakpoint, 0},
      {"illegal instruction", abi_illegal, 0, FaultKind::illegal_instruction, 0},
      {"in instruction", abi_in, 0, FaultKind::protection, 0},
      {"hlt instruction", abi_hlt, 0, FaultKind::protection, 0},
      {"read of a control register", abi_cr3, 0, FaultKind::protection, 0},
      {"wrmsr instruction", abi_wrmsr, 0, FaultKind::protection, 0},
      {"int instruction", abi_int, 0, FaultKind::protection, 0},
      {"non-canonical address", abi_noncanonical, 0, FaultKind::protection, 0},
      {"non-canonical stack", abi_bad_stack, 0, FaultKind::stack, 0},
  };
  char name[100];
  for (const FaultCase& f : cases) {
    const auto title = format_to(name, "fault: {}", f.name);
    name[title.size()] = 0;
    Check check(name);
    for (bool resume : {true, false}) {
      Child c = make_child();
      check.that(sys::process_set_handler(c.process, port).has_value(), "handler");
      const u64 a = f.a == 1 ? c.data : f.a == 2 ? c.code : f.a;
      check.that(start(c, f.code, a) == Status::ok, "start");
      Message m;
      m.deadline = Deadline(now() + 5'000'000'000);
      check.that(ipc::receive(port, m) == Status::ok, "arrives");
      // Processors report a bad stack pointer as a stack fault; the emulator as a protection violation.
      const bool also = f.kind == FaultKind::stack && m.words[0] == u64(FaultKind::protection);
      check.that(m.kind == MessageKind::fault && (m.words[0] == u64(f.kind) || also), "kind", m.words[0]);
      check.that((m.words[2] & f.detail) == f.detail, "detail", m.words[2]);
      if (f.kind == FaultKind::page) check.that(m.words[1] == a, "address", m.words[1]);
      const auto info = sys::thread_info(c.thread);
      check.that(info.has_value() && info->state == 4, "state is faulted",
                 info.has_value() ? info->state : 100 + u64(info.status()));
      Message answer;
      answer.deadline = kPoll;
      answer.word_count = 1;
      if (resume) {
        // Lets it go on at its end.
        check.that(sys::thread_registers(c.thread).has_value(), "registers");
        auto* r = reinterpret_cast<ThreadRegisters*>(message_page().words);
        check.that(r->rip == m.words[3] && r->rsp == m.words[4], "registers of the fault", r->rip);
        r->rip = c.code + u64(abi_exit - abi_code);
        r->rsp = c.data + 2 * kPageSize;
        check.that(sys::thread_set_registers(c.thread).has_value(), "set registers");
        answer.words[0] = u64(FaultAnswer::resume);
      }
      check.that(ipc::reply_receive(port, answer) == Status::timed_out, "answer");
      auto status = sys::process_wait(c.process, Deadline(now() + 5'000'000'000));
      check.that(status.has_value(), "ends");
      check.that(sys::process_info(c.process)->exit_status == (resume ? 0 : ~u64{0}), "exit status",
                 sys::process_info(c.process)->exit_status);
      end(c);
    }
  }
  {
    Check check("fault without a handler ends the process");
    Child c = make_child();
    (void)start(c, abi_illegal);
    auto status = sys::process_wait(c.process, kForever);
    check.that(status.has_value() && *status == (u64{0xfa17} << 32 | u64(FaultKind::illegal_instruction)), "status",
               *status);
    check.that(sys::process_info(c.process)->faults == 1, "is counted");
    end(c);
  }
  {
    Check check("write and execute exclude each other");
    CapIndex memory = *sys::memory_create(self().group, 1, 0);
    check.that(sys::space_map(self().space, memory.value, 0, 1, 7, 0).status() == Status::invalid_argument, "map");
    u64 at = *sys::space_map(self().space, memory.value, 0, 1, 3, 0);
    check.that(sys::space_protect(self().space, at, kPageSize, 7).status() == Status::invalid_argument, "protect");
    check.that(sys::space_protect(self().space, at, kPageSize, 5).has_value(), "from writable to executable");
    (void)sys::space_unmap(self().space, at, kPageSize);
    (void)sys::cap_delete(memory);
  }
  (void)sys::cap_delete(port);
}

// --- Preemption

struct Keeper {
  u64 count;
  u64 value;
  u64 stop;
  u64 broken;
};

void test_preemption() {
  {
    Check check("spinning threads of one level share the CPU");
    Child c[3];
    volatile u64* count[3];
    Mapping view[3];
    for (u32 i = 0; i < 3; ++i) {
      c[i] = make_child(kLowLevel);
      view[i] = *Mapping::map(c[i].memory, Access::read_write);
      count[i] = view[i].as<volatile u64>();
      check.that(start(c[i], abi_spin, c[i].data) == Status::ok, "start");
    }
    CapIndex n = *sys::notification_create(self().group);
    for (u32 tries = 0; tries < 200; ++tries) {
      (void)sys::notification_wait(n, Deadline(now() + 10'000'000));
      if (*count[0] != 0 && *count[1] != 0 && *count[2] != 0) break;
    }
    for (u32 i = 0; i < 3; ++i) {
      check.that(*count[i] != 0, "ran", i);
      check.that(sys::process_info(c[i].process)->cpu_ns > 0, "is charged", i);
    }
    // A stopped one does not.
    check.that(sys::thread_suspend(c[0].thread).has_value(), "suspend");
    const u64 stopped = *count[0];
    const u64 other = *count[1];
    for (u32 tries = 0; tries < 200 && *count[1] == other; ++tries) {
      (void)sys::notification_wait(n, Deadline(now() + 10'000'000));
    }
    check.that(*count[0] == stopped, "is stopped");
    check.that(*count[1] != other, "the others go on");
    check.that(sys::thread_resume(c[0].thread).has_value(), "resume");
    for (auto& child : c) end(child);
    (void)sys::cap_delete(n);
  }
  {
    Check check("registers, vectors and FS base survive preemption");
    Child c[3];
    Mapping view[3];
    for (u32 i = 0; i < 3; ++i) {
      c[i] = make_child(kLowLevel);
      view[i] = *Mapping::map(c[i].memory, Access::read_write);
      view[i].as<Keeper>()->value = 0x1111'1111 * (i + 1);
      check.that(start(c[i], abi_vector, c[i].data) == Status::ok, "start");
    }
    CapIndex n = *sys::notification_create(self().group);
    for (u32 i = 0; i < 12; ++i) (void)sys::notification_wait(n, Deadline(now() + 10'000'000));
    for (u32 i = 0; i < 3; ++i) view[i].as<volatile Keeper>()->stop = 1;
    for (u32 i = 0; i < 3; ++i) {
      check.that(sys::process_wait(c[i].process, Deadline(now() + 5'000'000'000)).has_value(), "ends");
      const auto* keeper = view[i].as<volatile Keeper>();
      check.that(keeper->count != 0, "ran");
      check.that(keeper->broken == 0, "state was lost", i);
      end(c[i]);
    }
    (void)sys::cap_delete(n);
  }
}

// --- Messages

void test_messages() {
  CapIndex port = *sys::port_create(self().group, 4);
  Child c = make_child(kHighLevel);
  CapIndex theirs = CapIndex(*sys::cap_grant(c.process, port.value, all_rights(ObjectKind::port), 0));
  (void)start(c, abi_server, theirs.value);
  {
    Check check("calls carry 0 to 480 words both ways");
    for (u32 words = 0; words <= kMaxMessageWords; words = words < 10 ? words + 1 : words + 47) {
      Message m;
      m.word_count = words;
      m.deadline = Deadline(now() + 5'000'000'000);
      for (u32 i = 0; i < 8; ++i) m.words[i] = i < words ? i * 7 + words : 0;
      for (u32 i = 8; i < words; ++i) message_page().words[i] = i * 7 + words;
      check.that(ipc::call(port, m) == Status::ok, "call", words);
      check.that(m.word_count == words, "count", m.word_count);
      for (u32 i = 0; i < words && i < 8; ++i) check.that(m.words[i] == i * 7 + words, "word", i);
    }
    Message m;
    m.word_count = 481;
    check.that(ipc::call(port, m) == Status::too_big, "too big");
  }
  {
    Check check("a server's death ends the call that it took, not those that wait");
    end(c);
    c = make_child(kHighLevel);
    theirs = CapIndex(*sys::cap_grant(c.process, port.value, all_rights(ObjectKind::port), 0));
    (void)start(c, abi_take, theirs.value);
    Message m;
    check.that(ipc::call(port, m) == Status::peer_died, "peer died");
    m = {};
    m.deadline = Deadline(now() + 1'000'000);
    check.that(ipc::call(port, m) == Status::timed_out, "waits for a successor");
  }
  {
    Check check("asynchronous messages queue in order");
    for (u64 i = 0; i < 5; ++i) {
      Message m;
      m.word_count = 1;
      m.words[0] = i;
      check.that(ipc::send(port, m) == (i < 4 ? Status::ok : Status::would_block), "send", i);
    }
    for (u64 i = 0; i < 4; ++i) {
      Message m;
      check.that(ipc::receive(port, m) == Status::ok && m.words[0] == i && m.kind == MessageKind::send, "receive", i);
    }
  }
  end(c);
  (void)sys::cap_delete(port);
}

// --- Nothing is lost

void test_leaks(u32 rounds) {
  {
    Check check("processes that come and go leave nothing");
    for (u32 i = 0; i < 50; ++i) {  // what caches keep is kept now
      Child c = make_child();
      end(c);
    }
    const u64 kernel = settled_kernel_bytes();
    const u64 before = free_pages();
    (void)sys::kernel_console(find_capability("control"), 0);  // a line for each that crashes
    for (u32 i = 0; i < rounds; ++i) {
      Child c = make_child(kHighLevel);
      if (!c.ok) {
        check.that(false, "create", i);
        break;
      }
      (void)start(c, i % 2 == 0 ? abi_exit : abi_illegal);
      if (i % 4 < 2) check.that(sys::process_wait(c.process, kForever).has_value(), "wait", i);
      end(c);
    }
    (void)sys::kernel_console(find_capability("control"), 1);
    expect_free(check, before, cache_slack());
    expect_kernel_bytes(check, kernel);
    check.that(sys::system_info(find_capability("control"))->processes == 1, "processes");
    check.that(sys::system_info(find_capability("control"))->threads == 1, "threads");
  }
  {
    Check check("objects that come and go leave nothing");
    CapIndex group = self().group;
    const u64 kernel = settled_kernel_bytes();
    for (u32 i = 0; i < 300; ++i) {
      CapIndex n = *sys::notification_create(group);
      CapIndex made[] = {n,
                         *sys::port_create(group, 16),
                         *sys::reply_create(group),
                         *sys::timer_create(group, n, 1),
                         *sys::wait_set_create(group),
                         *sys::memory_create(group, 3, 1),
                         *sys::group_create(group, 0, 0),
                         sys::interrupt_create_message(find_capability("irq"), group)->interrupt};
      for (CapIndex cap : made) check.that(sys::cap_delete(cap).has_value(), "delete", i);
    }
    expect_kernel_bytes(check, kernel);
  }
  {
    Check check("memory that is made, touched and given back is free again");
    const u64 before = free_pages();
    for (u32 i = 0; i < 20; ++i) {
      Cap memory;
      auto mapping = Mapping::create(600, &memory);
      check.that(mapping.has_value(), "create");
      if (!mapping.has_value()) break;
      for (u64 p = 0; p < 600; ++p) mapping->data()[p * kPageSize] = std::byte{1};
      if (i % 2 == 0) check.that(sys::cap_revoke(memory.get()).has_value(), "revoke");
    }
    expect_free(check, before, 16);
  }
}

// --- Threads of this process

void test_threads() {
  Check check("threads of one process see each other's words");
  static u32 word = 0;
  static u32 echo = 0;
  auto thread = Thread::create(
      [](void*) {
        for (u32 i = 1; i <= 200; ++i) {
          while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) != i) {
            (void)sys::word_wait(reinterpret_cast<u64>(&word), i - 1, kForever);
          }
          __atomic_store_n(&echo, i, __ATOMIC_RELEASE);
          (void)sys::word_wake(reinterpret_cast<u64>(&echo), 1);
        }
      },
      nullptr);
  check.that(thread.has_value(), "create");
  for (u32 i = 1; i <= 200; ++i) {
    __atomic_store_n(&word, i, __ATOMIC_RELEASE);
    (void)sys::word_wake(reinterpret_cast<u64>(&word), 1);
    while (__atomic_load_n(&echo, __ATOMIC_ACQUIRE) != i) {
      (void)sys::word_wait(reinterpret_cast<u64>(&echo), i - 1, kForever);
    }
  }
  check.that(thread.has_value() && thread->join().has_value(), "join");
}

// --- Forwarding

void test_forwarding() {
  Check check("a forwarded call is answered by who received it last");
  const CapIndex group = self().group;
  static CapIndex front;
  static CapIndex back;
  static CapIndex onward;
  front = *sys::port_create(group, 0);
  back = *sys::port_create(group, 0);
  onward = *sys::cap_derive(back, rights::port::call, 77);
  constexpr u32 kCalls = 200;
  auto server = Thread::create(
      [](void*) {
        Message m;
        for (Status status = ipc::receive(front, m); status == Status::ok; status = ipc::receive(front, m)) {
          if (ipc::forward(onward, m) != Status::ok) break;
        }
      },
      nullptr);
  auto caller = Thread::create(
      [](void*) {
        for (u32 i = 0; i < kCalls; ++i) {
          Message m{.words = {i}, .word_count = 1};
          if (ipc::call(front, m) != Status::ok || m.words[0] != i + 1) return;
        }
        Message last{.words = {kCalls}, .word_count = 1};
        (void)ipc::call(back, last);
      },
      nullptr);
  check.that(server.has_value() && caller.has_value(), "create");
  u32 calls = 0;
  Message m{.deadline = Deadline(now() + 5'000'000'000)};
  for (Status status = ipc::receive(back, m); status == Status::ok; status = ipc::reply_receive(back, m)) {
    if (m.words[0] == kCalls) break;
    ++calls;
    check.that(m.badge == 77 && m.word_count == 1, "badge and words", m.badge);
    m = Message{.words = {m.words[0] + 1}, .word_count = 1, .deadline = Deadline(now() + 5'000'000'000)};
  }
  check.that(calls == kCalls, "every call", calls);
  m = Message{.deadline = kPoll};
  (void)ipc::receive(back, m);
  check.that(ipc::forward(front, Message{}) == Status::bad_state, "forward without a caller");
  if (caller.has_value()) check.that(caller->join().has_value(), "join");
  (void)sys::cap_delete(front);
  if (server.has_value()) check.that(server->join().has_value(), "join");
  for (CapIndex cap : {back, onward}) (void)sys::cap_delete(cap);
}

// --- Channels

void test_channels() {
  struct Ping {
    u32 number;
    u64 more[2];
  };
  Check check("a channel carries values both ways and tells when the other end is gone");
  const u64 bytes = settled_kernel_bytes();
  {
    auto pair = Channel::create(self().group);
    check.that(pair.has_value(), "create");
    if (!pair.has_value()) return;
    Channel mine = std::move(pair->first);
    check.that(mine.receive<u64>(kPoll).status() == Status::timed_out, "nothing yet");
    check.that(mine.receive<u64>(Deadline(now() + 100'000)).status() == Status::timed_out, "deadline");
    // The other end as another process would get it, in a thread of its own.
    static std::array<CapIndex, Channel::kCapabilities> given;
    given = pair->second.release();
    auto echo = Thread::create(
        [](void*) {
          Channel theirs({Cap(given[0]), Cap(given[1]), Cap(given[2]), Cap(given[3])});
          for (auto ping = theirs.receive<Ping>(kForever); ping.has_value(); ping = theirs.receive<Ping>(kForever)) {
            (void)theirs.send(ping->number + ping->more[1]);
            if (ping->number == 99) return;
          }
        },
        nullptr);
    check.that(echo.has_value(), "thread");
    for (u32 i = 0; i < 99; ++i) {
      check.that(mine.send(Ping{i, {1, 2}}).has_value(), "send", i);
      const auto answer = mine.receive<u64>(kForever);
      check.that(answer.has_value() && *answer == i + 2, "receive", i);
    }
    check.that(mine.send(Ping{99, {1, 2}}).has_value(), "send the last");
    if (echo.has_value()) check.that(echo->join().has_value(), "join");
    check.that(mine.receive<u64>(kForever).value_or(0) == 101, "what was sent before the end");
    check.that(mine.receive<u64>(kForever).status() == Status::peer_died, "the end");
    check.that(mine.receive<u64>(kForever).status() == Status::peer_died, "the end again");
    check.that(mine.send(u64{1}).status() == Status::peer_died, "send after the end");
    auto other = Channel::create(self().group);
    check.that(other.has_value() && other->first.send(u32{1}).has_value(), "send a word");
    if (other.has_value()) check.that(other->second.receive<Ping>(kPoll).status() == Status::corrupt, "another size");
    u32 sent = 0;
    while (other.has_value() && other->first.send(sent).has_value()) ++sent;
    check.that(sent == Channel::kQueue && other->first.send(0u).status() == Status::would_block, "full", sent);
  }
  expect_kernel_bytes(check, bytes);
}

// --- Waiting for many

void test_wait_sets() {
  const CapIndex group = self().group;
  const CapIndex set = *sys::wait_set_create(group);
  const CapIndex bell = *sys::notification_create(group);
  static CapIndex port;
  static CapIndex echo;
  port = *sys::port_create(group, 4);
  echo = *sys::notification_create(group);
  {
    Check check("a wait set tells which member is ready, and when one ends");
    check.that(sys::wait_set_wait(set, kPoll).status() == Status::timed_out, "empty");
    check.that(sys::wait_set_add(set, bell.value, 7).has_value(), "add");
    check.that(sys::wait_set_add(set, bell.value, 8).status() == Status::busy, "add twice");
    check.that(sys::wait_set_add(set, port.value, 7).status() == Status::already_exists, "one key twice");
    check.that(sys::wait_set_add(set, group.value, 9).status() == Status::wrong_kind, "a group");
    check.that(sys::wait_set_add(set, 0x20, 9).status() == Status::bad_capability, "nothing");
    (void)sys::notification_signal(bell, 2);
    const auto ready = sys::wait_set_wait(set, kForever);
    check.that(ready.has_value() && ready->key == 7 && ready->gone == 0, "ready");
    check.that(sys::notification_wait(bell, kPoll).has_value(), "take");
    check.that(sys::wait_set_wait(set, Deadline(now() + 100'000)).status() == Status::timed_out, "deadline");
    const CapIndex mortal = *sys::notification_create(group);
    check.that(sys::wait_set_add(set, mortal.value, 9).has_value(), "add another");
    (void)sys::cap_delete(mortal);
    const auto gone = sys::wait_set_wait(set, kForever);
    check.that(gone.has_value() && gone->key == 9 && gone->gone == 1, "gone");
    check.that(sys::wait_set_remove(set, 9).status() == Status::not_found, "remove what is gone");
    check.that(sys::wait_set_remove(set, 7).has_value(), "remove");
  }
  {
    Check check("nothing that comes from other threads is overlooked");
    constexpr u32 kEach = 300;
    check.that(sys::wait_set_add(set, port.value, 1).has_value(), "add the port");
    check.that(sys::wait_set_add(set, echo.value, 2).has_value(), "add the notification");
    auto caller = Thread::create(
        [](void*) {
          for (u32 i = 0; i < kEach; ++i) {
            Message m{.words = {i}, .word_count = 1};
            if (ipc::call(port, m) != Status::ok || m.words[0] != i + 1) (void)sys::notification_signal(echo, 2);
          }
        },
        nullptr);
    auto ringer = Thread::create(
        [](void*) {
          for (u32 i = 0; i < kEach; ++i) (void)sys::notification_signal(echo, 1);
          (void)sys::notification_signal(echo, 4);
        },
        nullptr);
    check.that(caller.has_value() && ringer.has_value(), "create");
    u32 calls = 0;
    u64 bits = 0;
    Message m;
    while (calls < kEach || (bits & 4) == 0) {
      const auto ready = sys::wait_set_wait(set, Deadline(now() + 5'000'000'000));
      check.that(ready.has_value(), "wait", u64(ready.status()));
      if (!ready.has_value()) break;
      if (ready->key == 2) bits |= sys::notification_wait(echo, kPoll).value_or(0);
      if (ready->key != 1) continue;
      m = Message{.deadline = kPoll};
      for (Status status = ipc::receive(port, m); status == Status::ok; status = ipc::reply_receive(port, m)) {
        ++calls;
        m = Message{.words = {m.words[0] + 1}, .word_count = 1, .deadline = kPoll};
      }
    }
    check.that(calls == kEach && (bits & 2) == 0, "every call once", calls);
    if (caller.has_value()) check.that(caller->join().has_value(), "join");
    if (ringer.has_value()) check.that(ringer->join().has_value(), "join");
  }
  for (CapIndex cap : {set, bell, port, echo}) (void)sys::cap_delete(cap);
}

}  // namespace

int main() {
  say("TAP version 13");
  make_code();
  test_rights();
  test_time();
  test_threads();
  test_messages();
  test_forwarding();
  test_channels();
  test_wait_sets();
  test_faults();
  test_preemption();
  test_leaks(10'000);
  char line[80];
  say(format_to(line, "1..{}", g_results));
  say(format_to(line, "abi: {} of {} failed", g_failures, g_results));
  (void)sys::system_power(find_capability("control"), g_failures == 0 ? 1 : 2);
  return 0;
}
