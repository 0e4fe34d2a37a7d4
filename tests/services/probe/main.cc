// Tests the runtime, the interfaces and the service manager from inside, then ends the machine with the verdict.
#include <array>
#include <string>
#include <vector>

#include "idl/console.h"
#include "idl/manager.h"
#include "idl/names.h"
#include "user/runtime/cpio.h"
#include "user/runtime/last_error.h"
#include "user/runtime/memory.h"
#include "user/runtime/print.h"
#include "user/runtime/service_loop.h"
#include "user/runtime/spawn.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"
#include "user/runtime/thread.h"

namespace keel {
namespace {

u32 g_test = 0;
u32 g_failed = 0;

void check(bool good, std::string_view what) {
  ++g_test;
  g_failed += !good;
  log_notice("{} {} - {}", good ? "ok" : "not ok", g_test, what);
}

struct Entry {
  ManagerListResult value;
  bool found = false;
};
Entry find(const ManagerClient& manager, std::string_view name) {
  for (u64 cursor = 0;;) {
    const Result<ManagerListResult> entry = manager.list(cursor);
    if (!entry.has_value()) return {};
    if (entry->name == name) return {*entry, true};
    cursor = entry->next;
  }
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

void test_messages(const ConsoleClient& victim) {
  const Result<ConsoleSizeResult> size = victim.size();
  check(size.has_value() && size->columns == 1, "a call is answered");
  check(ConsoleClient::connect(victim.port()).has_value(), "the versions agree");
  check(
      wire::hello(victim.port(), wire::header(kConsoleInterface, 9, 0), kForever).status() == Status::version_mismatch,
      "another version is refused");
  std::string text(3776, 'x');
  check(victim.write(bytes_of(text)).has_value(), "a message of the largest size arrives");
  std::string back;
  while (back.size() < text.size()) {
    const auto part = victim.read(512, kForever.value);
    if (!part.has_value() || part->empty()) break;
    back += part->text();
  }
  check(back == text, "and comes back");
  check(victim.read(1, now_ns() + 5 * kMillisecond).status() == Status::timed_out, "a waiting handler times out");
  check(victim.read(1, kForever.value, after(5 * kMillisecond)).status() == Status::timed_out, "a caller times out");
  u64 begin = now_ns();
  for (u32 i = 0; i < 1000; ++i) static_cast<void>(victim.size());
  log_notice("# 1000 calls in {} us", (now_ns() - begin) / 1000);
}

struct Shared {
  Mutex mutex;
  ConditionVariable condition;
  u64 count = 0;
  u32 waiting = 0;
};

void test_threads() {
  Shared shared;
  std::vector<Thread> threads;
  for (u32 i = 0; i < 4; ++i) {
    Result<Thread> thread = Thread::create(
        [](void* argument) {
          Shared& s = *static_cast<Shared*>(argument);
          for (u32 k = 0; k < 2000; ++k) {
            MutexGuard guard(s.mutex);
            ++s.count;
          }
          MutexGuard guard(s.mutex);
          if (++s.waiting == 4) s.condition.notify_all();
          while (s.waiting < 4) s.condition.wait(s.mutex);
        },
        &shared);
    if (thread.has_value()) threads.push_back(std::move(*thread));
  }
  bool joined = threads.size() == 4;
  for (Thread& t : threads) joined = t.join(after(10 * kSecond)).has_value() && joined;
  check(joined && shared.count == 8000, "four threads share a mutex and a condition variable");
}

void test_heap() {
  std::vector<std::string> strings;
  for (u32 i = 0; i < 500; ++i) strings.emplace_back(i * 7 % 3000, static_cast<char>('a' + i % 26));
  bool good = true;
  for (u32 i = 0; i < 500; ++i) good = good && strings[i] == std::string(i * 7 % 3000, static_cast<char>('a' + i % 26));
  std::unique_ptr<std::array<u64, 100000>> large(new std::array<u64, 100000>);
  (*large)[99999] = 1;
  check(good, "the heap keeps what it is given");
}

void test_spawn() {
  const Result<Mapping> initrd = Mapping::map(find_capability("initrd"), Access::read);
  if (!initrd.has_value()) return check(false, "the archive can be mapped");
  const Result<CpioArchive> archive = CpioArchive::open(initrd->bytes());
  const Result<CpioEntry> file = archive->find("/bin/child");
  if (!file.has_value()) return check(false, "the program is in the archive");
  const std::string_view arguments[] = {"42"};
  const char* what = "?";
  const Result<Child> child = spawn_process({.name = "child",
                                             .image = file->data,
                                             .image_memory = find_capability("initrd"),
                                             .image_offset = static_cast<u64>(file->data.data() - initrd->data()),
                                             .arguments = arguments,
                                             .grants = {},
                                             .group = self().group},
                                            &what);
  if (!child.has_value()) log_notice("# {}: {}", what, child.error());
  const Result<u64> status = child.has_value() ? sys::process_wait(child->process.get(), after(kSecond)) : 0;
  check(status.has_value() && *status == 42, "a child runs and ends with its status");
}

void test_death(const ConsoleClient& victim, const ManagerClient& manager) {
  const CapIndex any = find_capability("events");
  check(victim.set_foreground(any, 1).status() == Status::peer_died, "a call that kills the server ends with PeerDied");
  const Result<ConsoleSizeResult> size = victim.size();
  check(size.has_value() && size->columns == 2, "the next call waits for the successor, which has its state");
  check(size.has_value() && size->rows == ConsoleClient(victim).size()->rows, "the badge is the same");
  const Result<u64> bits = sys::notification_wait(any, after(kSecond));
  check(bits.has_value() && *bits == 1, "the user is told");
  check(victim.set_foreground(any, 2).status() == Status::peer_died, "a server that hangs is killed");
  check(victim.size().has_value(), "and replaced");
  const Entry before = find(manager, "victim");
  check(before.found && before.value.restarts == 2 && before.value.state == 2, "the manager's list says so");
  check(manager.kill(before.value.pid).has_value(), "the manager kills");
  u32 wait = 0;
  while (find(manager, "victim").value.restarts < 3 && ++wait < 100) sleep_until(after(10 * kMillisecond));
  check(victim.size().has_value(), "and restarts");
}

void test_list(const ManagerClient& manager) {
  for (u64 cursor = 0;;) {
    const Result<ManagerListResult> e = manager.list(cursor);
    if (!e.has_value()) break;
    log_notice("# {:<10} state {} restarts {} {}", e->name.view(), e->state, e->restarts, e->reason.view());
    cursor = e->next;
  }
  check(find(manager, "ghost").value.state == 5, "a service without a program has failed");
  check(find(manager, "haunted").value.state == 5, "so has what needs it");
  check(find(manager, "nothing").value.state == 6, "a driver without a device is absent");
  check(find(manager, "once").value.state == 4, "a service that ended well has stopped");
  check(find(manager, "hopeless").value.state == 5, "one that keeps failing is given up");
}

void test_authority(const ManagerClient& manager, const NamesClient& names) {
  const Result<Cap> port = names.lookup("victim");
  check(port.has_value() && ConsoleClient(port->get()).size().has_value(), "a port is found by its name");
  check(names.lookup("nobody").status() == Status::not_found, "unless there is none");
  const Result<Cap> process = manager.inspect(find(manager, "victim").value.pid);
  check(process.has_value() && sys::process_info(process->get()).has_value(), "a process can be inspected");
  if (!process.has_value()) return;
  check(sys::process_kill(process->get(), 1).status() == Status::missing_right, "but not killed");
  const Explanation e = explain_last_error();
  check(e.error.call == Call::process_kill && e.missing == rights::process::kill && e.found == ObjectKind::process,
        "and the reason is known");
}

void test_manager_restart(const ConsoleClient& victim, const ManagerClient& manager) {
  const u64 pid = find(manager, "victim").value.pid;
  const u64 own = find(manager, "probe").value.pid;
  bool answered = true;
  const u64 end = now_ns() + kSecond;
  while (now_ns() < end) {
    answered = find(manager, "victim").found && answered;
    sleep_until(after(10 * kMillisecond));
  }
  check(answered, "the manager answers through its own death");
  check(find(manager, "victim").value.pid == pid && find(manager, "probe").value.pid == own,
        "running services are kept");
  check(victim.set_foreground(find_capability("events"), 3).status() == Status::peer_died, "the victim dies again");
  const Result<ConsoleSizeResult> size = victim.size(after(5 * kSecond));
  check(size.has_value() && size->columns == 5, "and the new manager replaces it");
}

void test_leaks(const ConsoleClient& victim) {
  const CapIndex info = find_capability("kernel-info");
  auto cycle = [&] {
    static_cast<void>(victim.set_foreground(find_capability("events"), 3));
    static_cast<void>(victim.size());
    sleep_until(after(20 * kMillisecond));
  };
  for (u32 i = 0; i < 5; ++i) cycle();
  const u64 before = sys::system_info(info)->free_pages;
  for (u32 i = 0; i < 20; ++i) cycle();
  const u64 after_all = sys::system_info(info)->free_pages;
  log_notice("# free pages {} before, {} after 20 deaths", before, after_all);
  check(after_all + 16 >= before, "deaths cost no memory");
}

}  // namespace
}  // namespace keel

int main() {
  using namespace keel;
  const ConsoleClient victim(find_capability("victim"));
  const ManagerClient manager(find_capability("manager"));
  const NamesClient names(find_capability("names"));
  static_cast<void>(manager.ready());
  test_messages(victim);
  test_heap();
  test_threads();
  test_spawn();
  test_death(victim, manager);
  test_list(manager);
  test_authority(manager, names);
  test_manager_restart(victim, manager);
  test_leaks(victim);
  log_notice("1..{}", g_test);
  log_notice("{} of {} failed", g_failed, g_test);
  static_cast<void>(sys::system_power(find_capability("reboot"), g_failed == 0 ? 1 : 2));
  return 1;
}
