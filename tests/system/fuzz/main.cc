// Fuzzer of the running kernel: rounds of worker processes that make random calls (worker/main.cc) on all CPUs. After
// each round everything they had must be back. The boot options: seed=N (kernel's; the fuzzer's seed follows from it),
// test=N: how many calls.
#include <algorithm>
#include <cstring>

#include "abi/fuzz_calls.h"
#include "tests/system/fuzz/account.h"
#include "tests/system/report.h"
#include "user/runtime/clock.h"
#include "user/runtime/cpio.h"
#include "user/runtime/memory.h"
#include "user/runtime/spawn.h"

using namespace keel;

namespace {

constexpr u32 kWorkers = 3;
constexpr u64 kDebugPort = u64{0x80} | u64{1} << 32;  // scope of io_ports: one port that does nothing
constexpr u64 kCallsPerRound = 40'000;
constexpr u64 kRoundNs = 3 * kSecond;  // a round ends then at the latest: its threads may all have stopped themselves

using report::end;
using report::say;

void need(bool good, const char* what) {
  if (good) return;
  static_cast<void>(sys::kernel_console(find_capability("control"), 1));
  char line[150];
  say(format_to(line, "not ok 1 - fuzz: {}", what));
  end(false);
}
template <class T>
T need(Result<T> result, const char* what) {
  if (!result.has_value()) need(false, what);
  return *std::move(result);
}

struct Counters {
  u64 processes, threads, capabilities;
  bool operator==(const Counters&) const = default;
};
Counters counters() {
  const auto info = need(sys::system_info(find_capability("control")), "system_info");
  const auto own = need(sys::process_info(self().process), "process_info");
  return {info.processes, info.threads, own.capabilities};
}

void round(const CpioEntry& file, fuzz::Account& account, CapIndex account_memory) {
  const Cap group(need(sys::group_create(self().group, 0x7a7a7566, 0), "group_create"));
  need(sys::group_set_limits(group.get(), 3000, 4'000'000, ~u64{0}, ~u64{0}).has_value(), "limits");
  const Cap port(need(sys::port_create(group.get(), 4), "port"));
  const Cap other_port(need(sys::port_create(group.get(), 0), "port"));
  const Cap notification(need(sys::notification_create(group.get()), "notification"));
  const Cap reply(need(sys::reply_create(group.get()), "reply"));
  const Cap timer(need(sys::timer_create(group.get(), notification.get(), 1), "timer"));
  const Cap memory(need(sys::memory_create(group.get(), 40, 0), "memory"));
  const CapIndex control = find_capability("control");
  account.stop.store(0, kRelaxed);
  const u64 until = account.calls.load(kRelaxed) + kCallsPerRound;
  Cap workers[kWorkers];
  for (u32 i = 0; i < kWorkers; ++i) {
    const Grant grants[] = {
        {"account", account_memory, rights::common | rights::memory::read | rights::memory::write},
        {"time", find_capability("time"), rights::inspect | rights::memory::read},
        {"group", group.get()},
        {"port", port.get()},
        {"other", other_port.get()},
        {"notification", notification.get()},
        {"reply", reply.get()},
        {"timer", timer.get()},
        {"memory", memory.get()},
        {"control", control,
         Rights(rights::inspect | rights::derive | rights::transfer | rights::kernel_control::read |
                rights::kernel_control::log_write | rights::kernel_control::log_read | rights::kernel_control::trace |
                rights::kernel_control::audit | rights::kernel_control::label)},
        {"sealer", find_capability("sealer")},
        {"irq", find_capability("irq")},
        {"ports", find_capability("io"), 0, kDebugPort},
        {"sibling", i > 0 ? workers[i - 1].get() : group.get()},
    };
    const char* what = "?";
    Result<Child> child = spawn_process({.name = "fuzz_worker",
                                         .image = file.data,
                                         .arguments = {},
                                         .grants = grants,
                                         .group = group.get(),
                                         .level = kNormalLevel},
                                        &what);
    if (!child.has_value()) break;  // the others have used up the group, or killed it
    workers[i] = std::move(child->process);
  }
  const Deadline end_of_round = after(kRoundNs);
  while (account.calls.load(kRelaxed) < until && !has_passed(end_of_round)) {
    bool alive = false;
    for (const Cap& w : workers)
      alive = alive || (w && sys::process_info(w.get()).has_value() && sys::process_info(w.get())->state < 2);
    if (!alive) break;
    sleep_until(after(5 * kMillisecond));
  }
  account.stop.store(1, kRelaxed);
  need(sys::group_kill(group.get(), 9).has_value(), "group_kill");
  for (const Cap& w : workers) {
    if (w) need(sys::process_wait(w.get(), after(20 * kSecond)).has_value(), "a worker does not end");
  }
}

}  // namespace

int main() {
  report::start_cpus();
  const u64 wanted = [] {
    const u64 value = report::amount();
    return value == 0 ? 1'000'000 : value;
  }();
  const Mapping initrd = need(Mapping::map(find_capability("initrd"), Access::read), "initrd");
  const CpioArchive archive = need(CpioArchive::open(initrd.bytes()), "archive");
  const CpioEntry file = need(archive.find("/bin/fuzz_worker"), "worker");
  Cap account_memory;
  const Mapping account_mapping = need(Mapping::create(1, &account_memory), "account");
  auto& account = *new (account_mapping.data()) fuzz::Account();
  const u64 seed = need(sys::random_get(1), "random").r0;
  account.seed.store(seed >> 8, kRelaxed);
  char line[200];
  say(format_to(line, "fuzz: {} calls from seed {:#x}", wanted, seed));
  const CapIndex control = find_capability("control");
  const Counters before = counters();
  u64 free_before = 0;
  for (u64 rounds = 1; account.calls.load(kRelaxed) < wanted; ++rounds) {
    static_cast<void>(sys::kernel_console(control, 0));  // processes crash by the dozen
    round(file, account, account_memory.get());
    static_cast<void>(sys::kernel_console(control, 1));
    // What is freed goes step by step, after grace periods. Slabs are kept half full; a leak would go on.
    const Deadline patience = after(20 * kSecond);
    const auto free_pages = [&] { return need(sys::system_info(control), "info").free_pages; };
    const auto is_back = [&] { return counters() == before && (rounds < 4 || free_pages() + 300 >= free_before); };
    while (!is_back() && !has_passed(patience)) sleep_until(after(kMillisecond));
    const Counters now = counters();
    if (now != before)
      say(format_to(line, "# processes {} threads {} capabilities {}, before {} {} {}", now.processes, now.threads,
                    now.capabilities, before.processes, before.threads, before.capabilities));
    need(now == before, "not everything was given back");
    const u64 free = free_pages();
    if (rounds == 3) free_before = free;
    say(format_to(line, "fuzz: round {}, {} calls, {} pages free", rounds, account.calls.load(kRelaxed), free));
    need(rounds < 4 || free + 300 >= free_before, "memory does not come back");
  }
  u32 calls = 0;
  u32 statuses = 0;
  for (const FuzzCall& call : kFuzzCalls) {
    const u64 seen = account.seen[call.number].load(kRelaxed);
    calls += (seen & 1) != 0;
    statuses += u32(__builtin_popcountll(seen));
    if ((seen & 1) == 0) say(format_to(line, "# {} never succeeded", call.name));
  }
  say(format_to(line, "fuzz: {} of {} calls succeeded at least once, {} pairs of call and status", calls,
                sizeof(kFuzzCalls) / sizeof(kFuzzCalls[0]), statuses));
  say("ok 1 - fuzz");
  end(true);
}
