// The console driver on the real machine; tests/qemu/test_drivers.py types.
#include <vector>

#include "base/format.h"
#include "idl/console.h"
#include "user/runtime/clock.h"
#include "user/runtime/cpio.h"
#include "user/runtime/memory.h"
#include "user/runtime/spawn.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"
#include "user/runtime/thread.h"

using namespace keel;

namespace {

constexpr u64 kPatience = 60 * kSecond;
constexpr Rights kClient =
    rights::transfer | rights::derive | rights::inspect | rights::port::call | rights::port::send;

u32 number = 0, failures = 0;
CapIndex port, state, events;
Cap process;
ConsoleClient console;

void write(std::string_view text) {
  static_cast<void>(console.write(std::as_bytes(std::span(text.data(), text.size())), after(kPatience)));
}
void report(bool good, std::string_view name) {
  char line[200];
  write(format_to(line, "{} {} - {}\n", good ? "ok" : "not ok", ++number, name));
  failures += !good;
}

Result<void> start_console() {
  const Mapping initrd = TRY(Mapping::map(TRY(require_capability("initrd")), Access::read));
  const CpioArchive archive = TRY(CpioArchive::open(initrd.bytes()));
  const CpioEntry file = TRY(archive.find("/bin/console"));
  const Grant grants[] = {
      {"log", find_capability("control"), rights::inspect | rights::kernel_control::log_write},
      {"time", find_capability("time"), rights::inspect | rights::memory::read},
      {"kernel-console", find_capability("control"), rights::kernel_control::tune},
      {"io-ports", find_capability("io"), rights::io_ports::read | rights::io_ports::write, 0x3f8 | u64{8} << 32},
      {"irq-control", find_capability("irq"), rights::interrupt_control::create, 4 | u64{1} << 32},
      {"state", state},
      {"events", events},
      {"serve.console", port, kClient | rights::port::receive | rights::port::badge},
  };
  Child child = TRY(
      spawn_process({.name = "console", .image = file.data, .arguments = {}, .grants = grants, .group = self().group}));
  process = std::move(child.process);
  return {};
}

bool reads_line(std::string_view expected) {
  std::vector<char> line;
  while (line.empty() || line.back() != '\r') {
    const Result<FixedBytes<512>> text = console.read(3, after(kPatience).value);
    if (!text.has_value()) return false;
    line.insert(line.end(), text->text().begin(), text->text().end());
  }
  return std::string_view(line.data(), line.size() - 1) == expected;
}

struct EarlierReader {
  Atomic<u32> status{~u32{0}};
  usize bytes = 0;  // written before status
};
void read_and_wait(void* argument) {
  const Result<FixedBytes<512>> text = console.read(10, ~u64{0});
  if (text.has_value()) static_cast<EarlierReader*>(argument)->bytes = text->size();
  static_cast<EarlierReader*>(argument)->status.store(static_cast<u32>(text.status()), kRelease);
}

Result<void> run() {
  port = TRY(sys::port_create(self().group, 16));
  state = TRY(sys::memory_create(self().group, 8, 0));
  events = TRY(sys::notification_create(self().group));
  TRY(start_console());
  const Cap session = TRY(derive(port, kClient, 1));
  console = ConsoleClient(session.get());
  report(console.size().has_value(), "the console answers");
  report(console.read(1, after(10 * kMillisecond).value).status() == Status::timed_out, "reading times out");

  write("type hello\n");
  report(reads_line("hello"), "what is typed is read, in pieces");

  const Cap interrupted = TRY(own(sys::notification_create(self().group)));
  TRY(console.set_foreground(interrupted.get(), 4));
  write("press control-c\n");
  report(sys::notification_wait(interrupted.get(), after(kPatience)).value_or(0) == 4,
         "control-c signals the foreground");

  EarlierReader earlier;
  Thread thread = TRY(Thread::create(read_and_wait, &earlier));
  sleep_until(after(50 * kMillisecond));
  static_cast<void>(console.read(1, after(10 * kMillisecond).value));
  TRY(thread.join(after(kPatience)));
  report(earlier.status.load(kAcquire) == static_cast<u32>(Status::cancelled),
         "a second read of a session ends the first");

  const Cap other = TRY(derive(port, kClient, 2));
  EarlierReader disturbed;
  Thread waiting = TRY(Thread::create(read_and_wait, &disturbed));
  sleep_until(after(50 * kMillisecond));
  write("my own text\n");
  sleep_until(after(50 * kMillisecond));
  report(disturbed.status.load(kAcquire) == ~u32{0}, "writing does not end a read of the same session");
  TRY(ConsoleClient(other.get()).write(std::as_bytes(std::span("a record\n", 9))));
  TRY(waiting.join(after(kPatience)));
  report(disturbed.status.load(kAcquire) == static_cast<u32>(Status::ok) && disturbed.bytes == 0,
         "another session's text ends a read with nothing");

  write("type ahead\n");
  sleep_until(after(kSecond));
  TRY(sys::process_kill(process.get(), 137));
  TRY(sys::process_wait(process.get(), after(kPatience)));
  TRY(start_console());
  report(reads_line("ahead"), "what was typed ahead outlives the driver");

  std::vector<char> block(3700, 'x');
  block.back() = '\n';
  for (int i = 0; i < 20; ++i) write({block.data(), block.size()});
  report(true, "much text");
  char line[20];
  write(format_to(line, "1..{}\n", number));
  sleep_until(after(100 * kMillisecond));
  return {};
}

}  // namespace

int main() {
  const Result<void> done = run();
  if (!done.has_value()) report(false, "the test itself");
  static_cast<void>(sys::system_power(find_capability("control"), failures == 0 ? 1 : 2));
  return 1;
}
