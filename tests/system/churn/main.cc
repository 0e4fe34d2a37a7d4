// Makes and ends processes in three ways, on all CPUs, and looks whether everything came back: killed while it runs,
// ended by itself, never started. With test=N: how many. Processes, threads, capabilities, objects, their bytes and the
// frames of user memory must be exactly what they were after the first thousand (until then caches fill). The frames
// under kernel objects need not: an object in a CPU's magazine may be the last of its slab and keep it open.
#include <cstring>

#include "tests/system/report.h"
#include "user/runtime/clock.h"

using namespace keel;

namespace {

constexpr u64 kWarmUp = 1000;
constexpr u64 kOpenSlabs = 14 * 16;  // of a CPU: magazines, and objects in each (kernel/mm/magazines.h)

using report::say;

void need(Status status, const char* what) { report::need(status, "churn", what); }
template <class T>
T need(Result<T> result, const char* what) {
  return report::need(std::move(result), "churn", what);
}

// The child's code: signals nobody and ends, or spins until it is killed.
asm(R"(
    .section .rodata
    .balign 64
    .globl churn_code, churn_code_end
churn_code:               # rdi: 0 end at once
    testq %rdi, %rdi
    jz 2f
1:  pause
    jmp 1b
2:  movl $12, %eax
    syscall
    ud2
churn_code_end:
    .text
)");
extern "C" {
[[gnu::visibility("hidden")]] extern const char churn_code[], churn_code_end[];
}

struct Counters {
  u64 processes, threads, capabilities, group_bytes, group_objects, user_pages, kernel_pages;
  bool operator==(const Counters&) const = default;
  bool same_but_slabs(const Counters& o, u64 cpus) const {
    Counters other = o;
    other.kernel_pages = kernel_pages;
    return *this == other && kernel_pages <= o.kernel_pages + cpus * kOpenSlabs;
  }
};
Counters counters() {
  const auto info = need(sys::system_info(find_capability("control")), "system_info");
  const auto own = need(sys::process_info(self().process), "process_info");
  const auto group = need(sys::group_info(self().group), "group_info");
  return {info.processes,     info.threads,  own.capabilities,
          group.kernel_bytes, group.objects, info.memory_pages - info.free_pages - info.kernel_pages,
          info.kernel_pages};
}

// What is freed goes step by step, after grace periods: nothing has changed for a while.
Counters settled() {
  Counters last = counters();
  for (u32 same = 0; same < 20;) {
    sleep_until(after(10 * kMillisecond));
    const Counters now = counters();
    same = now == last ? same + 1 : 0;
    last = now;
  }
  return last;
}

void one(u64 n, u64 code) {
  const auto made = need(sys::process_create(self().group, 0x6e72756863, 0, 0), "process_create");
  const u64 at = need(sys::space_map(made.space, code, 0, 1, 5, 0), "space_map");
  const auto thread = need(sys::thread_create(made.process, kNormalLevel), "thread_create");
  switch (n % 3) {
    case 0:  // ends by itself
      need(sys::thread_start(thread.thread, at, at + kPageSize, 0, 0).status(), "thread_start");
      break;
    case 1:  // is killed while it runs
      need(sys::thread_start(thread.thread, at, at + kPageSize, 1, 0).status(), "thread_start");
      if (n % 2 != 0) need(sys::yield().status(), "yield");
      need(sys::process_kill(made.process, 7).status(), "process_kill");
      break;
    default:  // never runs
      break;
  }
  need(sys::cap_delete(thread.thread).status(), "cap_delete");
  need(sys::cap_delete(made.space).status(), "cap_delete");
  if (n % 3 != 2) static_cast<void>(need(sys::process_wait(made.process, after(20 * kSecond)), "process_wait"));
  need(sys::cap_delete(made.process).status(), "cap_delete");
}

}  // namespace

int main() {
  report::start_cpus();
  u64 wanted = report::amount();
  if (wanted < 2 * kWarmUp) wanted = 10'000;
  const CapIndex memory = need(sys::memory_create(self().group, 1, 0), "memory_create");
  const u64 here = need(sys::space_map(self().space, memory.value, 0, 1, 3, 0), "space_map");
  std::memcpy(reinterpret_cast<void*>(here), churn_code, usize(churn_code_end - churn_code));
  need(sys::space_unmap(self().space, here, kPageSize).status(), "space_unmap");
  need(sys::thread_set_level(self().thread, kNormalLevel + 1).status(), "level");
  Counters before{};
  char line[220];
  for (u64 n = 1; n <= wanted; ++n) {
    one(n, memory.value);
    if (n == kWarmUp) before = settled();
    if (n % 10'000 == 0) say(format_to(line, "churn: {} processes", n));
  }
  const Counters now = settled();
  const auto print = [&](const char* when, const Counters& c) {
    say(format_to(
        line, "# {}: processes {} threads {} capabilities {} bytes {} objects {} user pages {} kernel pages {}", when,
        c.processes, c.threads, c.capabilities, c.group_bytes, c.group_objects, c.user_pages, c.kernel_pages));
  };
  print("now", now);
  print("was", before);
  const bool good = now.same_but_slabs(before, need(sys::system_info(find_capability("control")), "system_info").cpus);
  say(good ? "ok 1 - churn" : "not ok 1 - churn: not everything was given back");
  report::end(good);
}
