// Kernel primitives, in instructions: run under `-icount shift=0,sleep=off`, where the time stamp counter counts them.
// Each line of output is `bench NAME VALUE`: the median of many samples, what the sampling itself costs taken off.
// The method is in docs/benchmarks.md; tools/bench compares with the peers and goals.
#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "tests/system/report.h"
#include "user/runtime/capabilities.h"
#include "user/runtime/clock.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"
#include "user/runtime/thread.h"
#include "user/runtime/thread_block.h"

using namespace keel;

namespace {

constexpr u32 kWarmUp = 1000;
constexpr u32 kSamples = 10000;

void figure(const char* name, u64 value) { report::line("bench {} {}", name, value); }

inline u64 rdtsc() {
  u32 low, high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
  return u64{high} << 32 | low;
}

// `prepare` is what user code does before, which is not counted.
template <class F, class P>
u64 median_of(u32 warm_up, u32 samples, F run, P prepare) {
  static std::vector<u32> taken;
  taken.clear();
  taken.reserve(samples);
  for (u32 i = 0; i < warm_up + samples; ++i) {
    prepare();
    u64 start = rdtsc();
    run();
    u64 end = rdtsc();
    if (i >= warm_up) taken.push_back(u32(end - start));
  }
  std::nth_element(taken.begin(), taken.begin() + samples / 2, taken.end(), [](u32 a, u32 b) { return a < b; });
  return taken[samples / 2];
}
u64 g_overhead = 0;
constexpr auto kNothing = [] {};
template <class F, class P = decltype(kNothing)>
u64 median(F run, u32 samples = kSamples, u32 warm_up = kWarmUp, P prepare = kNothing) {
  return median_of(warm_up, samples, run, prepare) - g_overhead;
}

// A call as a generated stub makes it: the words it does not send are zeroed, so that nothing leaks.
template <u32 Words>
[[gnu::always_inline]] inline u64 raw_call(u64 operation, u64 port, u64 rsi = 0, u64 rdx = 0, u64 word2 = 0,
                                           u64 word3 = 0, u64* result = nullptr) {
  u64 status = operation;
  register u64 r8 asm("r8") = word2;
  register u64 r9 asm("r9") = word3;
  register u64 r12 asm("r12") = 0;
  register u64 r13 asm("r13") = 0;
  register u64 r14 asm("r14") = 0;
  register u64 r15 asm("r15") = 0;
  asm volatile("syscall"
               : "+a"(status), "+D"(port), "+S"(rsi), "+d"(rdx), "+r"(r8), "+r"(r9), "+r"(r12), "+r"(r13), "+r"(r14),
                 "+r"(r15)
               :
               : "rcx", "r10", "r11", "memory");
  if (result != nullptr) *result = rsi;
  return status;
}

// Machine code for threads in a process of their own, mapped at any address. Each: rdi = capability, rsi = operation.
asm(R"(
    .section .rodata
    .balign 64
    .globl bench_server, bench_server_end, bench_waiter, bench_waiter_end, bench_yielder, bench_yielder_end
    .globl bench_client, bench_client_end
    .globl bench_stamper, bench_stamper_end, bench_exit, bench_exit_end, bench_signal_exit, bench_signal_exit_end
bench_server:             # answers every call with as many words
    movq %rdi, %rbx
    movq %rsi, %rbp
    movl $35, %eax
    syscall
1:  movq %rbx, %rdi
    movq %rbp, %rax
    syscall
    jmp 1b
bench_server_end:
    .balign 64
bench_client:             # calls as often as rsi says, as a stub would, then exits
    movq %rdi, %rbx
    movq %rsi, %rbp
1:  movq %rbx, %rdi
    xorl %esi, %esi
    xorl %edx, %edx
    xorl %r8d, %r8d
    xorl %r9d, %r9d
    xorl %r12d, %r12d
    xorl %r13d, %r13d
    xorl %r14d, %r14d
    xorl %r15d, %r15d
    movl $33, %eax
    syscall
    decq %rbp
    jnz 1b
    movl $12, %eax
    xorl %edi, %edi
    syscall
bench_client_end:
    .balign 64
bench_waiter:             # waits for a notification for ever
    movq %rdi, %rbx
1:  movq %rbx, %rdi
    movq $-1, %rsi
    movl $46, %eax
    syscall
    jmp 1b
bench_waiter_end:
    .balign 64
bench_stamper:            # the same; leaves the time when it woke up at the top of its stack
    movq %rdi, %rbx
1:  movq %rbx, %rdi
    movq $-1, %rsi
    movl $46, %eax
    syscall
    rdtsc
    movl %eax, -8(%rsp)
    movl %edx, -4(%rsp)
    jmp 1b
bench_stamper_end:
    .balign 64
bench_yielder:
1:  movl $20, %eax
    syscall
    jmp 1b
bench_yielder_end:
    .balign 64
bench_exit:
    movl $12, %eax
    syscall
    ud2
bench_exit_end:
    .balign 64
bench_signal_exit:        # rdi: a notification
    movl $1, %esi
    movl $45, %eax
    syscall
    movl $12, %eax
    syscall
    ud2
bench_signal_exit_end:
    .text
)");
extern "C" {
[[gnu::visibility("hidden")]] extern const char bench_server[], bench_server_end[], bench_client[], bench_client_end[],
    bench_waiter[], bench_waiter_end[], bench_stamper[], bench_stamper_end[], bench_yielder[], bench_yielder_end[],
    bench_exit[], bench_exit_end[], bench_signal_exit[], bench_signal_exit_end[];
}

void need(Status status, const char* what) { report::need(status, "bench", what); }
template <class T>
T need(Result<T> r, const char* what) {
  need(r.status(), what);
  return *r;
}

struct Child {
  CapIndex process;
  CapIndex space;
  CapIndex thread;
  CapIndex memory;  // one page of code, one of stack
  u64 entry = 0;
  u64 stack = 0;
};

// A thread that will run the code: in a new process, or in this one.
Child make_child(const char* code, const char* end, u64 level, bool own_process) {
  Child c;
  if (own_process) {
    auto made = need(sys::process_create(self().group, 0x6368696c64, 0, 0), "process_create");
    c.process = made.process;
    c.space = made.space;
  } else {
    c.process = self().process;
    c.space = self().space;
  }
  c.memory = need(sys::memory_create(self().group, 2, 0), "memory_create");
  u64 here = need(sys::space_map(self().space, c.memory.value, 0, 2, 3, 0), "space_map");
  memcpy(reinterpret_cast<void*>(here), code, usize(end - code));
  need(sys::space_unmap(self().space, here, 2 * kPageSize).status(), "space_unmap");
  c.entry = need(sys::space_map(c.space, c.memory.value, 0, 1, 5, 0), "space_map code");
  c.stack = need(sys::space_map(c.space, c.memory.value, 1, 1, 3, 0), "space_map stack") + kPageSize;
  c.thread = need(sys::thread_create(c.process, level), "thread_create").thread;
  return c;
}
void start(const Child& c, u64 a, u64 b) {
  need(sys::thread_start(c.thread, c.entry, c.stack, a, b).status(), "thread_start");
}

// A server in a child; answers the call operation word.
CapIndex make_server(bool own_process, u32 words, Child* child) {
  CapIndex port = need(sys::port_create(self().group, 0), "port_create");
  *child = make_child(bench_server, bench_server_end, kNormalLevel + 20, own_process);
  u64 target = own_process ? need(sys::cap_grant(child->process, port.value, 0x7f, 0), "cap_grant") : port.value;
  start(*child, target, 34 | Descriptor::make(words));
  need(sys::yield().status(), "yield");
  return port;
}

template <u32 Words, bool OwnProcess>
void bench_ipc(const char* name) {
  Child child;
  CapIndex port = make_server(OwnProcess, Words, &child);
  u64 operation = 33 | Descriptor::make(Words);
  need(Status(raw_call<Words>(operation, port.value) & 0xff), name);
  figure(name, median([=] { raw_call<Words>(operation, port.value); }));
  if (OwnProcess) {
    need(sys::process_kill(child.process, 0).status(), "kill");
  }
}

template <u32 Count>
void bench_ipc_caps(const char* name) {
  Child child;
  CapIndex port = make_server(true, 0, &child);
  CapIndex thing = need(sys::notification_create(self().group), "notification_create");
  // There and not back: the server's space fills up; 4000 samples fit.
  std::vector<CapIndex> copies;
  for (u32 i = 0; i < Count * 4500; ++i) copies.push_back(need(sys::cap_derive(thing, 0x3f, 0), "derive"));
  u32 next = 0;
  constexpr u64 operation = 33 | Descriptor::make(0, Count, (1 << Count) - 1);
  figure(name, median([=] { raw_call<0>(operation, port.value); }, 4000, 400,
                      [&] {
                        for (u32 i = 0; i < Count; ++i) message_page().capabilities[i] = copies[next++].value;
                      }));
  need(sys::process_kill(child.process, 0).status(), "kill");
}

// A thread that signals and exits, from its creation until the creator knows of the signal. It runs below its creator,
// so that the creator waits.
void bench_thread() {
  CapIndex ended = need(sys::notification_create(self().group), "notification");
  const Child code = make_child(bench_signal_exit, bench_signal_exit_end, kNormalLevel, false);
  const u64 process = self().process.value;
  figure("thread_create_join", median(
                                   [&] {
                                     u64 thread = 0;
                                     raw_call<0>(u64(Call::thread_create), process, kNormalLevel - 1, 0, 0, 0, &thread);
                                     raw_call<0>(u64(Call::thread_start), thread, code.entry, code.stack, ended.value);
                                     raw_call<0>(u64(Call::notification_wait), ended.value, kForever.value);
                                     raw_call<0>(u64(Call::cap_delete), thread);
                                   },
                                   1000, 100));
}

// From an interrupt to the first instruction of the thread that waits for it: a thread below keeps the counter's value
// in a word, the thread that wakes up subtracts it from its own. `arm(i)` lets the interrupt come a little later.
template <class Arm>
void bench_interrupt(const char* name, CapIndex n, Arm arm) {
  static constinit volatile u64 last = 0;
  static constinit volatile bool stop = false;
  struct Spinner {
    static void run(void*) {
      (void)sys::thread_set_level(this_thread().thread, kNormalLevel - 1);
      while (!stop) last = rdtsc();
    }
  };
  stop = false;
  Result<Thread> spinner = Thread::create(&Spinner::run, nullptr);
  need(spinner.status(), "thread");
  std::vector<u64> taken;
  for (u32 i = 0; i < 2000; ++i) {
    arm(i);
    (void)raw_call<0>(u64(Call::notification_wait), n.value, kForever.value);
    u64 woken = rdtsc();
    if (i >= 200) taken.push_back(woken - last);
  }
  stop = true;
  (void)spinner->join();
  std::nth_element(taken.begin(), taken.begin() + taken.size() / 2, taken.end());
  figure(name, taken[taken.size() / 2]);
}

// The 8254's channel 0 stands for a device: edge-triggered, on line 2 of the bench machine's I/O APIC.
void bench_device() {
  CapIndex n = need(sys::notification_create(self().group), "notification");
  CapIndex line = need(sys::interrupt_create(find_capability("irq"), self().group, 2, 0), "interrupt_create");
  need(sys::interrupt_bind(line, n, 1).status(), "interrupt_bind");
  const CapIndex io = find_capability("io");
  bench_interrupt("irq_to_user", n, [&](u32 i) {
    (void)sys::io_write(io, 0x43, 1, 0x30);  // once, when it has counted down
    (void)sys::io_write(io, 0x40, 1, 100 + i % 50);
    (void)sys::io_write(io, 0x40, 1, 0);
  });
  need(sys::cap_delete(line).status(), "cap_delete");
}

void bench_timer() {
  CapIndex n = need(sys::notification_create(self().group), "notification");
  CapIndex timer = need(sys::timer_create(self().group, n, 1), "timer_create");
  bench_interrupt("timer_to_user", n, [&](u32 i) {
    u64 now = sys::system_info(find_capability("control"))->uptime_ns;
    // Not always at the same place of the loop.
    need(sys::timer_set(timer, Deadline(now + 100'000 + i * 7), 0).status(), "timer_set");
  });
}

u64 map_touch_unmap(u64 pages) {
  const CapIndex m = *sys::memory_create(self().group, pages, 0);
  const u64 at = *sys::space_map(self().space, m.value, 0, pages, 3, 0);
  for (u64 i = 0; i < pages; ++i) *reinterpret_cast<volatile u64*>(at + i * kPageSize) = 1;
  (void)sys::space_unmap(self().space, at, pages * kPageSize);
  (void)sys::cap_delete(m);
  return at;
}

// A fault on each page of memory whose pages are there: mapped, `write`n to or read for the first time.
u64 first_touch(CapIndex memory, u64 pages, bool write) {
  u64 next = need(sys::space_map(self().space, memory.value, 0, pages, write ? 3 : 1, 0), "map");
  const u64 at = next;
  const u64 cost = median(
      [&] {
        auto* word = reinterpret_cast<volatile u64*>(next);
        if (write) {
          *word = 1;
        } else {
          (void)*word;
        }
        next += kPageSize;
      },
      u32(pages) - 200, 200);
  need(sys::space_unmap(self().space, at, pages * kPageSize).status(), "unmap");
  return cost;
}

void bench_clones() {
  constexpr u64 kPages = 16'384;
  const CapIndex memory = need(sys::memory_create(self().group, kPages, 1), "memory");
  const u64 at = need(sys::space_map(self().space, memory.value, 0, kPages, 3, 0), "map");
  CapIndex clone;
  const auto touch = [&] {
    if (clone.value != 0) (void)sys::cap_delete(clone);
    for (u64 i = 0; i < kPages; ++i) *reinterpret_cast<volatile u64*>(at + i * kPageSize) = i;
  };
  figure("clone_64m", median([&] { clone = need(sys::memory_clone(memory, self().group), "clone"); }, 3, 1, touch));
  figure("fault_cow", first_touch(clone, 2048, true));
  need(sys::space_unmap(self().space, at, kPages * kPageSize).status(), "unmap");
  const CapIndex resident = need(sys::memory_create(self().group, 2048, 1), "memory");
  figure("fault_file_cached", first_touch(resident, 2048, false));
  for (const CapIndex gone : {clone, memory, resident}) (void)sys::cap_delete(gone);
}

// How late the highest thread is, at worst, when its timer goes off while another makes processes and memory.
void bench_wake_under_load() {
  static constinit volatile bool stop = false;
  struct Load {
    static void run(void*) {
      (void)sys::thread_set_level(this_thread().thread, kNormalLevel - 1);
      while (!stop) {
        (void)map_touch_unmap(100);
        const auto made = need(sys::process_create(self().group, 0x64616f6c, 0, 0), "process_create");
        for (CapIndex gone : {made.process, made.space}) (void)sys::cap_delete(gone);
      }
    }
  };
  const CapIndex n = need(sys::notification_create(self().group), "notification");
  const CapIndex timer = need(sys::timer_create(self().group, n, 1), "timer_create");
  Result<Thread> load = Thread::create(&Load::run, nullptr);
  need(load.status(), "thread");
  need(sys::thread_set_level(self().thread, kRealTimeLevel).status(), "level");
  u64 worst = 0;
  for (u32 i = 0; i < 2000; ++i) {
    const Deadline due = after(50'000 + i * 37);
    need(sys::timer_set(timer, due, 0).status(), "timer_set");
    (void)raw_call<0>(u64(Call::notification_wait), n.value, kForever.value);
    worst = std::max(worst, now_ns() - due.value);
  }
  need(sys::thread_set_level(self().thread, kNormalLevel).status(), "level");
  stop = true;
  (void)load->join();
  figure("wake_under_load_max", worst);
}

// From a signal to the first instruction of the thread above, in another space, that waits for it; and there and back.
void bench_signal() {
  {
    Child waiter = make_child(bench_stamper, bench_stamper_end, kNormalLevel + 4, true);
    auto* stack = reinterpret_cast<volatile u64*>(
        need(sys::space_map(self().space, waiter.memory.value, 1, 1, 3, 0), "space_map"));
    const volatile u64& woken = stack[kPageSize / 8 - 1];
    CapIndex n = need(sys::notification_create(self().group), "notification");
    start(waiter, need(sys::cap_grant(waiter.process, n.value, 0x3f, 0), "grant"), 0);
    std::vector<u64> taken;
    for (u32 i = 0; i < kWarmUp + kSamples; ++i) {
      const u64 before = rdtsc();
      raw_call<0>(u64(Call::notification_signal), n.value, 1);
      if (i >= kWarmUp) taken.push_back(woken - before);
    }
    std::nth_element(taken.begin(), taken.begin() + kSamples / 2, taken.end());
    figure("notify_wake_cross", taken[kSamples / 2] - g_overhead);
    need(sys::process_kill(waiter.process, 0).status(), "kill");
  }
  Child waiter = make_child(bench_waiter, bench_waiter_end, kNormalLevel + 4, true);
  CapIndex n = need(sys::notification_create(self().group), "notification");
  start(waiter, need(sys::cap_grant(waiter.process, n.value, 0x3f, 0), "grant"), 0);
  figure("notify_rt_cross", median([&] { raw_call<0>(u64(Call::notification_signal), n.value, 1); }));
  need(sys::process_kill(waiter.process, 0).status(), "kill");
}

// Memory that one more of something costs: pages that are gone from the machine, whoever they are charged to.
u64 free_pages() { return need(sys::system_info(find_capability("control")), "system_info").free_pages; }

void bench_sizes() {
  constexpr u32 kMany = 128;
  CapIndex never = need(sys::notification_create(self().group), "notification");
  const Child code = make_child(bench_waiter, bench_waiter_end, kNormalLevel, false);
  u64 before = free_pages();
  for (u32 i = 0; i < kMany; ++i) {  // each ran and waits
    CapIndex thread = need(sys::thread_create(self().process, kNormalLevel + 4), "thread_create").thread;
    need(sys::thread_start(thread, code.entry, code.stack, never.value, 0).status(), "thread_start");
  }
  figure("thread_bytes", (before - free_pages()) * kPageSize / kMany);
  before = free_pages();
  for (u32 i = 0; i < kMany; ++i) {  // each with a thread that waits, a page of code and a page of stack
    Child c = make_child(bench_waiter, bench_waiter_end, kNormalLevel + 4, true);
    start(c, need(sys::cap_grant(c.process, never.value, 0x3f, 0), "cap_grant"), 0);
  }
  figure("process_bytes", (before - free_pages()) * kPageSize / kMany);
}

void rest(u64 ns) {
  static const CapIndex never = need(sys::notification_create(self().group), "notification");
  const u64 now = sys::system_info(find_capability("control"))->uptime_ns;
  (void)sys::notification_wait(never, Deadline(now + ns));
}

void pin(CapIndex thread, u32 cpu) { need(sys::thread_set_affinity(thread, u64{1} << cpu).status(), "affinity"); }

// A server in a process of its own that runs on that CPU, and waits.
CapIndex make_pinned_server(u32 cpu, Child* child) {
  CapIndex port = need(sys::port_create(self().group, 0), "port_create");
  *child = make_child(bench_server, bench_server_end, kNormalLevel + 4, true);
  pin(child->thread, cpu);
  start(*child, need(sys::cap_grant(child->process, port.value, 0x7f, 0), "cap_grant"), 34);
  rest(1'000'000);
  return port;
}

void bench_pinned(const char* name, u32 cpu) {
  Child child;
  CapIndex port = make_pinned_server(cpu, &child);
  figure(name, median([&] { raw_call<0>(33, port.value); }));
  need(sys::process_kill(child.process, 0).status(), "kill");
}

// So many clients with a server each, every pair on a CPU of its own: instructions of all CPUs for one call and reply.
void bench_pairs(u32 pairs) {
  constexpr u64 kCalls = 20000;
  Child servers[4], clients[4];
  u64 ports[4];
  for (u32 i = 0; i < pairs; ++i) {
    const CapIndex port = make_pinned_server(i, &servers[i]);
    clients[i] = make_child(bench_client, bench_client_end, kNormalLevel, true);
    pin(clients[i].thread, i);
    ports[i] = need(sys::cap_grant(clients[i].process, port.value, 0x7f, 0), "cap_grant");
  }
  const u64 before = rdtsc();
  for (u32 i = 0; i < pairs; ++i) start(clients[i], ports[i], kCalls);
  for (u32 i = 0; i < pairs; ++i) need(sys::process_wait(clients[i].process, kForever).status(), "wait");
  const char* kNames[] = {"ipc_pairs_1", "ipc_pairs_2", "ipc_pairs_3", "ipc_pairs_4"};
  figure(kNames[pairs - 1], (rdtsc() - before) / (pairs * kCalls));
  for (u32 i = 0; i < pairs; ++i) need(sys::process_kill(servers[i].process, 0).status(), "kill");
}

// What several CPUs cost, and what they do not cost: booted with four of them.
void bench_several_cpus() {
  report::start_cpus();
  while (sys::system_info(find_capability("control"))->cpus < 4) rest(1'000'000);
  pin(self().thread, 0);
  rest(20'000'000);
  bench_pinned("ipc_rt_smp4_0w", 0);
  bench_pinned("ipc_rt_xcpu", 1);
  for (u32 pairs = 1; pairs <= 4; ++pairs) bench_pairs(pairs);
}

// One message from the sender's call to the receiver's, in one space and without a switch: as many as a queue takes,
// one call each or all in two.
void bench_messages() {
  constexpr u32 kMessages = 53;
  const CapIndex port = need(sys::port_create(self().group, kMessages), "port");
  figure("send_receive_1", median(
                               [&] {
                                 for (u32 i = 0; i < kMessages; ++i) raw_call<0>(u64(Call::send) | 8 << 8, port.value);
                                 for (u32 i = 0; i < kMessages; ++i) raw_call<0>(u64(Call::receive), port.value);
                               },
                               1000, 100) /
                               kMessages);
  figure("send_receive_batch", median(
                                   [&] {
                                     raw_call<0>(u64(Call::send_batch), port.value, kMessages, 8);
                                     raw_call<0>(u64(Call::receive_batch), port.value);
                                   },
                                   1000, 100) /
                                   kMessages);
  (void)sys::cap_delete(port);
}

}  // namespace

int main() {
  need(sys::thread_set_level(self().thread, kNormalLevel).status(), "level");
  g_overhead = median_of(kWarmUp, kSamples, kNothing, kNothing);
  if (argument_value("test") == "4") {
    bench_several_cpus();
    report::say("bench done");
    return 0;
  }
  auto info = need(sys::system_info(find_capability("control")), "system_info");
  figure("boot_to_user", info.boot_instructions);
  figure("null_call", median([] { raw_call<0>(u64(Call::call), 0x100000000); }));
  bench_ipc<0, false>("ipc_rt_same_0w");
  bench_ipc<0, true>("ipc_rt_cross_0w");
  bench_ipc<4, true>("ipc_rt_cross_4w");
  bench_ipc<8, true>("ipc_rt_cross_8w");
  bench_ipc<16, true>("ipc_rt_cross_16w");
  bench_ipc<64, true>("ipc_rt_cross_64w");
  bench_ipc_caps<1>("ipc_rt_cross_1cap");
  bench_ipc_caps<2>("ipc_rt_cross_2cap");
  bench_ipc_caps<4>("ipc_rt_cross_4cap");

  CapIndex lonely = need(sys::notification_create(self().group), "notification");
  figure("notify_no_waiter", median([=] { raw_call<0>(u64(Call::notification_signal), lonely.value); }));
  bench_signal();
  {
    Child other = make_child(bench_yielder, bench_yielder_end, kNormalLevel, true);
    start(other, 0, 0);
    figure("yield_switch_cross", median([] { raw_call<0>(u64(Call::yield), 0); }) / 2);
    need(sys::process_kill(other.process, 0).status(), "kill");
  }
  {
    figure("cap_derive", median([=] { raw_call<0>(u64(Call::cap_derive), lonely.value, 0x3f); }));
    u64 before = rdtsc();
    need(sys::cap_revoke(lonely).status(), "revoke");
    figure("cap_revoke_each", (rdtsc() - before) / (kWarmUp + kSamples));
  }
  figure("process_create_exit", median(
                                    [] {
                                      Child c = make_child(bench_exit, bench_exit_end, kNormalLevel + 4, true);
                                      start(c, 0, 0);
                                      (void)sys::process_wait(c.process, kForever);
                                      (void)sys::cap_delete(c.thread);
                                      (void)sys::cap_delete(c.space);
                                      (void)sys::cap_delete(c.process);
                                    },
                                    200, 20));
  bench_thread();
  bench_device();
  bench_timer();
  {
    constexpr u64 kPages = 2048;
    CapIndex memory = need(sys::memory_create(self().group, kPages, 0), "memory");
    u64 at = need(sys::space_map(self().space, memory.value, 0, kPages, 3, 0), "map");
    u64 next = at;
    figure("fault_anon_write", median(
                                   [&] {
                                     *reinterpret_cast<volatile u64*>(next) = 1;
                                     next += kPageSize;
                                   },
                                   1800, 200));
    need(sys::space_unmap(self().space, at, kPages * kPageSize).status(), "unmap");
    (void)sys::cap_delete(memory);
    // While it sleeps, the kernel zeroes pages ahead of demand.
    CapIndex idle = need(sys::notification_create(self().group), "notification");
    u64 now = sys::system_info(find_capability("control"))->uptime_ns;
    (void)sys::notification_wait(idle, Deadline(now + 200'000'000));
    memory = need(sys::memory_create(self().group, kPages, 0), "memory");
    next = at = need(sys::space_map(self().space, memory.value, 0, kPages, 3, 0), "map");
    // The first faults only: how many pages are kept zeroed is bounded.
    figure("fault_anon_write_zeroed", median(
                                          [&] {
                                            *reinterpret_cast<volatile u64*>(next) = 1;
                                            next += kPageSize;
                                          },
                                          8, 2));
    need(sys::space_unmap(self().space, at, kPages * kPageSize).status(), "unmap");
    (void)sys::cap_delete(memory);
    for (u64 pages : {u64{1}, u64{64}, u64{1024}}) {
      char name[40];
      format_to(name, "map_touch_unmap_{}", pages);
      name[16 + (pages == 1 ? 1 : pages == 64 ? 2 : 4)] = 0;
      figure(name, median([&] { (void)map_touch_unmap(pages); }, 20, 4));
    }
    memory = need(sys::memory_create(self().group, 1, 0), "memory");
    at = need(sys::space_map(self().space, memory.value, 0, 1, 3, 0), "map");
    figure("protect_pair", median([&] {
             *reinterpret_cast<volatile u64*>(at) = 1;
             (void)sys::space_protect(self().space, at, kPageSize, 1);
             (void)sys::space_protect(self().space, at, kPageSize, 3);
           }));
  }
  bench_clones();
  bench_messages();
  bench_sizes();
  bench_wake_under_load();
  report::say("bench done");
  report::end(true);
}
