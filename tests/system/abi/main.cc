// The system calls on the machine itself, as the first process sees them. Each line of output is a result in TAP form.
#include <array>

#include "abi/fuzz_calls.h"
#include "tests/system/abi/common.h"

using namespace keel;
using namespace keel::abi_test;

namespace {

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

}  // namespace

int main() {
  report::start_cpus();
  report::say("TAP version 13");
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
  report::line("1..{}", report::g_results);
  report::line("abi: {} of {} failed", report::g_failures, report::g_results);
  report::end_of_results();
}
