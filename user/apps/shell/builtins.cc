// The commands that are part of the shell.
#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "idl/log.h"
#include "idl/vfs.h"
#include "user/apps/shell/commands.h"
#include "user/apps/shell/shell.h"
#include "user/runtime/clock.h"
#include "user/runtime/file.h"
#include "user/runtime/machine.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"

namespace keel::shell {
namespace {

std::string_view service_state_name(u32 state) {
  constexpr std::string_view kNames[] = {"waiting", "starting", "ready", "restarting", "stopped", "failed", "absent"};
  return state < std::size(kNames) ? kNames[state] : "?";
}

// ---- help ----------------------------------------------------------------------------------------------------------

void help_line(Output& out, std::string_view name, std::string_view arguments, std::string_view help) {
  FixedString<40> left(name);
  if (!arguments.empty()) left.append(" ");
  left.append(arguments);
  out.print("  {:<26} {}\n", left.view(), help);
}

u64 help(Shell& shell, Words words) {
  Output out;
  if (words.size() > 1) {
    for (const std::string_view word : words.subspan(1)) {
      bool found = false;
      if (const Builtin* builtin = find_builtin(word)) {
        help_line(out, builtin->name, builtin->arguments, builtin->help);
        found = true;
      }
      for (const ProgramHelp& program : program_help()) {
        if (program.name != word) continue;
        help_line(out, program.name, program.arguments, program.help);
        found = true;
      }
      if (!found) return shell.fail("help", word, Status::not_found, "no such command");
    }
    return 0;
  }
  std::string_view group;
  for (const Builtin& builtin : builtins()) {
    if (builtin.group != group) out.print("{}{}\n", group.empty() ? "" : "\n", builtin.group);
    group = builtin.group;
    help_line(out, builtin.name, builtin.arguments, builtin.help);
  }
  out.print("\nFiles and text (programs in /bin)\n");
  for (const ProgramHelp& program : program_help()) help_line(out, program.name, program.arguments, program.help);
  out.print("\nCOMMAND & runs a program in the background. Ctrl-C ends what runs in the foreground. Tab completes.\n");
  return 0;
}

// ---- processes -----------------------------------------------------------------------------------------------------

// The process with that number, or nothing.
Result<sys::ProcessListResult> find_process(u64 pid) {
  if (pid == 0) return Status::not_found;
  const sys::ProcessListResult found = TRY(sys::process_list(kernel_info(), pid - 1));
  if (found.id != pid) return Status::not_found;
  return found;
}

}  // namespace

FixedString<24> name_of_process(u64 pid) {
  if (pid == 0) return "kernel";
  const Result<sys::ProcessListResult> found = find_process(pid);
  return found.has_value() ? FixedString<24>(name_of(*found).view()) : FixedString<24>("gone");
}

Result<u64> process_of(std::string_view text) {
  if (const Result<u64> pid = number_of(text); pid.has_value()) return TRY(find_process(*pid)).id;
  for (u64 after = 0;;) {
    const sys::ProcessListResult p = TRY(sys::process_list(kernel_info(), after));
    if (name_of(p).view() == text) return p.id;
    after = p.id;
  }
}

FixedString<160> names_of_rights(ObjectKind kind, Rights rights) {
  FixedString<160> text;
  bool all = true;
  for (u32 bit = 0; bit < 16; ++bit) {
    const char* known = right_name(kind, bit);
    all = all && (known == nullptr || *known == 0 || (rights >> bit & 1) != 0);
  }
  if (all) return "all";
  for (u32 bit = 0; bit < 16; ++bit) {
    if ((rights >> bit & 1) == 0) continue;
    if (!text.empty()) text.append(" ");
    const char* name = right_name(kind, bit);
    if (name != nullptr && *name != 0) {
      text.append(name);
    } else {
      format(text, "bit{}", bit);
    }
  }
  if (text.empty()) text = "-";
  return text;
}

namespace {

u64 caps(Shell& shell, Words words) {
  const Result<u64> pid = words.size() == 2 ? number_of(words[1]) : Status::invalid_argument;
  if (!pid.has_value()) return usage("caps");
  CapIndex process = kNoCapability;
  Cap inspected;
  const Result<sys::ProcessInfoResult> own_info = sys::process_info(self().process);
  if (own_info.has_value() && own_info->id == *pid) {
    process = self().process;
  } else if (const Job* job = shell.jobs().find_pid(*pid)) {
    process = job->process.get();
  } else {
    Result<Cap> inspect = shell.manager().inspect(*pid);
    if (!inspect.has_value()) {
      const bool other = inspect.error() == Status::not_found && find_process(*pid).has_value();
      return shell.fail("caps", words[1], inspect.error(),
                        other ? "neither a service nor a job of this shell, so nobody can let us look"
                        : inspect.error() == Status::not_found ? "no such process"
                                                               : std::string_view());
    }
    inspected = std::move(*inspect);
    process = inspected.get();
  }
  Output out;
  out.print("{:>18}  {:<18} {:>7}  {:>18}  {:<14} {}\n", "index", "object", "number", "scope", "from", "rights");
  for (u64 cursor = 0;;) {
    const Result<sys::ProcessCapabilityResult> c = sys::process_capability(process, cursor);
    if (!c.has_value()) {
      if (c.error() == Status::not_found) return 0;
      out.flush();
      return shell.fail("caps", words[1], c.error());
    }
    cursor = c->next;
    const ObjectKind kind = static_cast<ObjectKind>(c->kind_rights & 0xff);
    const Rights rights = static_cast<Rights>(c->kind_rights >> 16 & 0xffff);
    out.print("{:#18x}  {:<18} {:>7}  {:#18x}  {:<14} {}\n", c->index, kind_name(kind), c->object, c->scope,
              name_of_process(c->from_process).view(), names_of_rights(kind, rights).view());
  }
}

u64 kill(Shell& shell, Words words) {
  if (words.size() < 2) return usage("kill");
  u64 status = 0;
  for (const std::string_view word : words.subspan(1)) {
    const Result<u64> pid = number_of(word);
    if (!pid.has_value()) {
      status = shell.fail("kill", word, pid.error(), "not a process number; `ps` lists them");
      continue;
    }
    if (Job* job = shell.jobs().find_pid(*pid)) {
      const Result<void> killed = sys::process_kill(job->process.get(), kExitKilled);
      if (killed.has_value()) static_cast<void>(sys::process_wait(job->process.get(), after(kSecond)));
      if (!killed.has_value()) status = shell.fail("kill", word, killed.error());
      continue;
    }
    const Result<sys::ProcessInfoResult> own_info = sys::process_info(self().process);
    if (own_info.has_value() && own_info->id == *pid) {
      print_text("the shell ends; the service manager starts another\n");
    }
    const Result<void> killed = shell.manager().kill(*pid);
    // The manager died of it, or while it did it: it is true either way.
    if (killed.has_value() || killed.error() == Status::peer_died) continue;
    std::string_view why;
    FixedString<120> text;
    if (killed.error() == Status::not_found) {
      const Result<sys::ProcessListResult> there = find_process(*pid);
      if (there.has_value()) {
        format(text, "{} is neither a service nor a job of this shell", name_of(*there).view());
        why = text;
      } else {
        why = "no such process";
      }
    } else if (killed.error() == Status::access_denied) {
      why = "the service manager refuses: this shell's manifest does not say `uses = manager`";
    }
    status = shell.fail("kill", word, killed.error(), why);
  }
  return status;
}

u64 jobs(Shell& shell, Words) {
  shell.refresh_jobs();
  Output out;
  for (const Job& job : shell.jobs().list()) {
    const std::string_view state = job.state == JobState::running ? "running" : "ended";
    out.print("[{}] {:>5}  {:<8} {}\n", job.number, job.pid, state, job.text.view());
  }
  return 0;
}

u64 wait(Shell& shell, Words words) {
  u64 number = 0;
  if (words.size() > 1) {
    std::string_view text = words[1];
    if (text.starts_with('%')) text.remove_prefix(1);
    const Result<u64> parsed = number_of(text);
    if (!parsed.has_value()) return usage("wait");
    const Job* by_pid = shell.jobs().find_pid(*parsed);
    const Job* job = by_pid != nullptr ? by_pid : shell.jobs().find_number(static_cast<u32>(*parsed));
    if (job == nullptr) return shell.fail("wait", words[1], Status::not_found, "no such job; `jobs` lists them");
    number = job->number;
  }
  shell.wait_jobs(static_cast<u32>(number));
  return 0;
}

u64 run_program(Shell& shell, Words words) {
  if (words.size() < 2) return usage("run");
  FixedString<300> path(words[1].find('/') == std::string_view::npos ? "./" : "");
  path.append(words[1]);
  std::vector<std::string_view> rest(words.begin() + 1, words.end());
  rest[0] = path;
  return shell.run_words(rest, false, words[1]);
}

u64 time_command(Shell& shell, Words words) {
  if (words.size() < 2) return usage("time");
  const u64 before = now_ns();
  const u64 status = shell.run_words(words.subspan(1), false, words[1]);
  const u64 us = (now_ns() - before) / 1000;
  const u64 cpu_us = shell.last_cpu_ns() / 1000;
  Output out;
  out.print("real {}.{:06} s  cpu {}.{:06} s\n", us / 1'000'000, us % 1'000'000, cpu_us / 1'000'000,
            cpu_us % 1'000'000);
  return status;
}

// ---- services ------------------------------------------------------------------------------------------------------

u64 services(Shell& shell, Words) {
  Output out;
  out.print("{:<16} {:<11} {:>5} {:>8} {:>9}  {}\n", "name", "state", "pid", "restarts", "ready_ms", "dependencies");
  for (u64 cursor = 0;;) {
    const Result<ManagerListResult> s = shell.manager().list(cursor);
    if (!s.has_value()) {
      if (s.error() == Status::not_found) return 0;
      out.flush();
      return shell.fail("services", "", s.error());
    }
    cursor = s->next;
    char pid[24] = "-";
    const std::string_view pid_text = s->pid == 0 ? std::string_view("-") : format_to(pid, "{}", s->pid);
    out.print("{:<16} {:<11} {:>5} {:>8} {:>9}  {}\n", s->name.view(), service_state_name(s->state), pid_text,
              s->restarts, s->ready_ms, s->dependencies.empty() ? std::string_view("-") : s->dependencies.view());
    if (!s->reason.empty()) out.print("{:<16} {}\n", "", s->reason.view());
  }
}

u64 restart(Shell& shell, Words words) {
  if (words.size() != 2) return usage("restart");
  const Result<void> done = shell.manager().restart(words[1]);
  if (done.has_value()) return 0;
  return shell.fail("restart", words[1], done.error(), done.error() == Status::not_found ? "no such service" : "");
}

u64 power(Shell& shell, std::string_view name, PowerAction action) {
  const Result<void> done = shell.manager().power(static_cast<u32>(action));
  return shell.fail(name, "", done.has_value() ? Status::not_supported : done.error());
}
u64 reboot(Shell& shell, Words) { return power(shell, "reboot", PowerAction::reset); }
u64 poweroff(Shell& shell, Words) { return power(shell, "poweroff", PowerAction::off); }

// ---- the machine ---------------------------------------------------------------------------------------------------

u64 mem(Shell& shell, Words) {
  const Result<sys::SystemInfoResult> info = sys::system_info(kernel_info());
  if (!info.has_value()) return shell.fail("mem", "", info.error());
  constexpr u64 kKib = kPageSize / 1024;
  const u64 used = info->memory_pages - info->free_pages;
  Output out;
  out.print("{:<24} {:>10} KiB\n", "memory", info->memory_pages * kKib);
  out.print("{:<24} {:>10} KiB\n", "free", info->free_pages * kKib);
  out.print("{:<24} {:>10} KiB\n", "used by the kernel", info->kernel_pages * kKib);
  out.print("{:<24} {:>10} KiB\n", "used by processes",
            (used - (info->kernel_pages < used ? info->kernel_pages : used)) * kKib);
  out.print("{:<24} {:>10}\n", "processes", info->processes);
  out.print("{:<24} {:>10}\n", "threads", info->threads);
  out.print("{:<24} {:>10}\n", "processors", info->cpus);
  return 0;
}

u64 irq(Shell& shell, Words) {
  Output out;
  out.print("{:>6}  {:>6}  {:>12}  {:>3}  {:<9} {:>6}\n", "line", "vector", "count", "cpu", "kind", "storms");
  for (u64 cursor = 0;;) {
    const Result<sys::InterruptListResult> i = sys::interrupt_list(kernel_info(), cursor);
    if (!i.has_value()) {
      if (i.error() == Status::not_found) return 0;
      out.flush();
      return shell.fail("irq", "", i.error());
    }
    cursor = i->next;
    char line[24];
    const bool message = i->line > 0xffff;
    out.print("{:>6}  {:>6}  {:>12}  {:>3}  {:<9} {:>6}{}\n",
              message ? std::string_view("-") : format_to(line, "{}", i->line), i->vector, i->count, i->cpu,
              message               ? "message"
              : (i->flags & 1) != 0 ? "level"
                                    : "edge",
              i->storms, (i->flags & 2) != 0 ? " held back" : "");
  }
}

u64 uptime(Shell& shell, Words words) {
  const bool exact = words.size() == 2 && words[1] == "-n";
  if (words.size() > 1 && !exact) return usage("uptime");
  const Result<sys::SystemInfoResult> info = sys::system_info(kernel_info());
  if (!info.has_value()) return shell.fail("uptime", "", info.error());
  const u64 ms = info->uptime_ns / kMillisecond;
  Output out;
  if (exact) {
    out.print("up      {:>14} ns, at work {:>14} ns\n", info->uptime_ns, work_ns());
    out.print("prompt  {:>14} ns, at work {:>14} ns\n", shell.first_prompt_ns(), shell.first_prompt_work_ns());
    return 0;
  }
  out.print("up {}:{:02}:{:02}.{:03}, {} processes, {} threads, {} processor{}\n", ms / 3'600'000, ms / 60'000 % 60,
            ms / 1000 % 60, ms % 1000, info->processes, info->threads, info->cpus, info->cpus == 1 ? "" : "s");
  return 0;
}

// ---- trace ---------------------------------------------------------------------------------------------------------

constexpr u8 kLastPlainCall = 3;  // calls up to here never wait

struct Traced {
  u64 cpu;
  TraceRecord record;
};

// Appends what the CPU recorded since the cursor, and moves it on; how many records were lost in between.
Result<u64> read_trace(u64 cpu, u64* cursor, std::vector<Traced>* into) {
  for (u64 lost = 0;;) {
    const sys::TraceReadResult r = TRY(sys::trace_read(find_capability("kernel-trace"), cpu, *cursor));
    *cursor = r.next;
    lost += r.lost;
    for (u64 i = 0; i < r.count; ++i) {
      Traced traced{cpu, {}};
      memcpy(&traced.record, &message_page().words[i * sizeof(TraceRecord) / sizeof(u64)], sizeof(TraceRecord));
      into->push_back(traced);
    }
    if (r.count < kTraceRecordsPerRead) return lost;  // nearly all: reading is recorded as well
  }
}

std::string_view trace_event_name(TraceEvent event) {
  constexpr std::string_view kNames[] = {"none", "call", "run", "fault", "interrupt", "kill", "enter"};
  const usize i = static_cast<usize>(event);
  return i < std::size(kNames) ? kNames[i] : "?";
}

// One line for each event, for tools/trace: CPU, nanoseconds, event, process, thread, what the event is about, and the
// low half of the trace id of whatever that was part of.
u64 trace(Shell& shell, Words words) {
  const Result<sys::SystemInfoResult> info = sys::system_info(kernel_info());
  if (!info.has_value()) return shell.fail("trace", "", info.error());
  std::vector<u64> cursors(info->cpus, 0);
  std::vector<Traced> taken;
  u64 status = 0;
  if (words.size() > 1) {
    for (u64 cpu = 0; cpu < info->cpus; ++cpu) static_cast<void>(read_trace(cpu, &cursors[cpu], &taken));
    taken.clear();
    status = shell.run_words(words.subspan(1), false, words[1]);
  }
  u64 lost = 0, readable = 0;
  Status why = Status::ok;
  for (u64 cpu = 0; cpu < info->cpus; ++cpu) {
    const Result<u64> read = read_trace(cpu, &cursors[cpu], &taken);
    if (read.has_value()) {
      lost += *read;
      ++readable;
    } else {
      why = read.error();
    }
  }
  if (readable == 0) return shell.fail("trace", "", why);
  Output out;
  for (const Traced& t : taken) {
    const TraceRecord& r = t.record;
    out.print("{} {} {} {} {} ", t.cpu, ns_of_counter(r.tsc), trace_event_name(r.event), r.process, r.thread);
    if (r.event == TraceEvent::call) {
      const char* name = call_name(r.code);
      // A call that waits leaves its own number where its status will be.
      const bool waits = r.status == r.code && r.code > kLastPlainCall;
      out.print("{} {} {:#x}", name == nullptr ? "unknown" : name,
                waits ? "waits" : status_name(static_cast<Status>(r.status)), r.data);
    } else if (r.event == TraceEvent::enter) {
      const char* name = call_name(r.code);
      out.print("{} {:#x}", name == nullptr ? "unknown" : name, r.data);
    } else {
      out.print("{} {:#x}", r.code, r.data);
    }
    if (r.trace != 0) out.print(" trace {:08x}", r.trace);
    out.print("\n");
  }
  out.print("{} events, {} lost\n", taken.size(), lost);
  return status;
}

u64 show_log(Shell& shell, Words words) {
  const bool follow = words.size() == 2 && words[1] == "-f";
  if (words.size() > 1 && !follow) return usage("log");
  constexpr std::string_view kLevels[] = {"error", "warning", "notice", "info", "debug"};
  const LogClient log(find_capability("log.read"));
  Output out;
  if (follow) shell.begin_foreground();
  u64 status = 0;
  for (u64 sequence = 0;;) {
    const Result<LogReadResult> r = log.read(sequence);
    if (r.has_value()) {
      sequence = r->next;
      const u64 us = r->time_ns / 1000;
      out.print("[{:>4}.{:03}] {:<7} {:<14} {}\n", us / 1000, us % 1000, r->level < 5 ? kLevels[r->level] : "?",
                r->name.view(), r->text.view());
      continue;
    }
    out.flush();
    if (r.error() != Status::not_found) {
      status = shell.fail("log", "", r.error());
      break;
    }
    if (!follow || shell.interrupted(after(200 * kMillisecond))) break;
  }
  if (follow) shell.end_foreground();
  return status;
}

u64 mounts(Shell& shell, Words) {
  const VfsClient vfs(find_capability("vfs"));
  Output out;
  out.print("{:<12} {:<8} {:>10} {:>10}  {}\n", "path", "type", "size KiB", "free KiB", "label");
  for (u64 cursor = 0;;) {
    const Result<VfsMountsResult> m = vfs.mounts(cursor);
    if (!m.has_value()) {
      if (m.error() == Status::not_found) return 0;
      out.flush();
      return shell.fail("mounts", "", m.error());
    }
    cursor = m->next;
    if (!m->problem.empty()) {
      out.print("{:<12} {:<8} unusable: {}\n", m->path.view(), m->type.view(), m->problem.view());
      continue;
    }
    out.print("{:<12} {:<8} {:>10} {:>10}  {}\n", m->path.view(), m->type.view(), m->blocks * m->block_bytes / 1024,
              m->free_blocks * m->block_bytes / 1024, m->label.view());
  }
}

// ---- explain -------------------------------------------------------------------------------------------------------

// "MissingRight", "missing_right", "missing-right" and "3" are the same.
std::optional<Status> status_of(std::string_view text) {
  if (const Result<u64> number = number_of(text); number.has_value()) {
    if (*number < kStatusCount) return static_cast<Status>(*number);
    return std::nullopt;
  }
  const auto plain = [](std::string_view name) {
    FixedString<40> out;
    for (const char c : name) {
      if (c == '_' || c == '-') continue;
      const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
      out.append({&lower, 1});
    }
    return out;
  };
  for (u32 i = 0; i < kStatusCount; ++i) {
    if (plain(status_name(static_cast<Status>(i))).view() == plain(text).view()) return static_cast<Status>(i);
  }
  return std::nullopt;
}

std::string_view who_grants(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::kernel_control:
    case ObjectKind::interrupt_control:
    case ObjectKind::io_ports:
      return "the service manager, by a line `capabilities = ...` for this service in /etc/services.conf";
    case ObjectKind::port:
      return "the service manager, by a line `uses = ...` for this service in /etc/services.conf";
    case ObjectKind::process:
    case ObjectKind::thread:
    case ObjectKind::address_space:
      return "whoever made the process: its parent";
    case ObjectKind::memory:
      return "whoever shared the memory";
    case ObjectKind::notification:
      return "whoever made the notification";
    case ObjectKind::interrupt:
    case ObjectKind::dma_domain:
      return "the device manager, to the driver of the device";
    case ObjectKind::group:
      return "whoever made the group: the service manager for services";
    default:
      return "whoever holds the capability that it was derived from";
  }
}

u64 explain_last(Shell& shell, Output& out) {
  const Failure& f = shell.failure();
  if (f.command.empty()) {
    out.print("nothing has failed yet\n");
    return 0;
  }
  out.print("{}: {}: {}\n", f.command.view(), status_name(f.status), status_text(f.status));
  if (!f.has_call) {
    out.print("No call of the kernel failed with that: a service or the shell itself answered it.\n");
    return 0;
  }
  const Explanation& e = f.explanation;
  out.print("{:<16} {}\n", "call", call_name(static_cast<u32>(e.error.call)));
  if (e.error.capability != kNoCapability) out.print("{:<16} {:#x}\n", "capability", e.error.capability);
  if (e.expected != ObjectKind::none) out.print("{:<16} {}\n", "needs a", kind_name(e.expected));
  out.print("{:<16} {}\n", "found", e.found == ObjectKind::none ? "nothing: no such capability" : kind_name(e.found));
  if (f.status != Status::missing_right) return 0;
  const ObjectKind kind = e.found != ObjectKind::none ? e.found : e.expected;
  out.print("{:<16} {}\n", "needs rights", names_of_rights(kind, e.needed).view());
  out.print("{:<16} {}\n", "missing", names_of_rights(kind, e.missing).view());
  out.print("{:<16} {}\n", "granted by", who_grants(kind));
  return 0;
}

u64 explain(Shell& shell, Words words) {
  Output out;
  if (words.size() != 2) {
    for (u32 i = 0; i < kStatusCount; ++i) {
      out.print("{:>3}  {:<16} {}\n", i, status_name(static_cast<Status>(i)), status_text(static_cast<Status>(i)));
    }
    return 0;
  }
  if (words[1] == "last") return explain_last(shell, out);
  const std::optional<Status> status = status_of(words[1]);
  if (!status.has_value())
    return shell.fail("explain", words[1], Status::not_found, "no such status; `explain` lists them");
  out.print("{} ({}): {}\n", status_name(*status), static_cast<u32>(*status), status_text(*status));
  return 0;
}

// No action has the number: were the right there, nothing would happen either.
u64 overreach(Shell& shell, Words) {
  const Result<void> done = sys::system_power(kernel_info(), ~u64{0});
  return shell.fail("overreach", "system_power", done.status());
}

u64 clear(Shell&, Words) {
  print_text("\x1b[2J\x1b[H");
  return 0;
}

u64 show_status(Shell& shell, Words) {
  Output out;
  out.print("{} ({})\n", shell.status(), describe_exit(shell.status()).view());
  return 0;
}

u64 history(Shell& shell, Words) {
  Output out;
  for (usize i = 0; i < shell.editor().history_size(); ++i) out.print("{:>4}  {}\n", i + 1, shell.editor().history(i));
  return 0;
}

constexpr std::string_view kProcesses = "Processes";
constexpr std::string_view kServices = "Services";
constexpr std::string_view kMachine = "The machine";
constexpr std::string_view kShell = "The shell";

constexpr Builtin kBuiltins[] = {
    {"ps", kProcesses, "", "all processes: state, level, threads, CPU, memory, capabilities, group", ps},
    {"top", kProcesses, "[-n COUNT]", "the busiest threads, until a key is pressed; -n: so many times", top},
    {"group", kProcesses, "[WHAT ...]", "share and limit CPU and memory: create limit run show kill remove", group,
     true},
    {"caps", kProcesses, "PID", "what a process may do: its capabilities and where they came from", caps},
    {"capctl", kProcesses, "who-can|path|explain ...",
     "who may do WHAT (path, service, kind); path A B: what B has from A; explain PID INDEX", capctl},
    {"kill", kProcesses, "PID...", "end processes; a service is started again by its policy", kill},
    {"jobs", kProcesses, "", "what runs in the background", jobs},
    {"wait", kProcesses, "[JOB]", "wait until background jobs have ended", wait},
    {"run", kProcesses, "PATH [ARG...]", "run a program from anywhere, e.g. run /disk/tool", run_program},
    {"time", kProcesses, "CMD [ARG...]", "run a command and show how long it took", time_command},

    {"services", kServices, "", "state, process, restarts and dependencies of each service", services},
    {"restart", kServices, "NAME", "start a service anew, also one that failed", restart},
    {"log", kServices, "[-f]", "what the kernel and the services reported; -f: go on until Ctrl-C", show_log},

    {"mem", kMachine, "", "memory: in all, free, used", mem},
    {"irq", kMachine, "", "interrupts and how often they came", irq},
    {"mounts", kMachine, "", "mounted file systems, and why one cannot be used", mounts},
    {"uptime", kMachine, "[-n]", "time since boot; -n: to the nanosecond, and when the prompt came", uptime},
    {"audit", kMachine, "[N] [--follow]", "who was given, took back or was refused which authority", audit},
    {"kconfig", kMachine, "[NAME [VALUE]]", "settings of the kernel: values, ranges, meaning; with VALUE: change one",
     kconfig},
    {"trace", kMachine, "[CMD [ARG...]]", "what each processor did last, or while a command ran", trace},
    {"reboot", kMachine, "", "reset the machine", reboot},
    {"poweroff", kMachine, "", "switch the machine off", poweroff},

    {"explain", kShell, "[STATUS|last]", "what a status means; last: why the last command failed", explain},
    {"overreach", kShell, "", "ask the kernel for what the shell may not do; then try: explain last", overreach},
    {"status", kShell, "", "exit status of the last command", show_status},
    {"history", kShell, "", "the lines typed so far", history},
    {"clear", kShell, "", "clear the screen", clear},
    {"help", kShell, "[CMD]", "this list, or one line of it", help},
};

constexpr ProgramHelp kPrograms[] = {
    {"ls", "[-l] [PATH...]", "names in a directory; -l: with type, size and time"},
    {"cat", "PATH...", "show files"},
    {"stat", "PATH...", "what a path names: type, size, owner, time"},
    {"readlink", "PATH...", "where a symbolic link points"},
    {"hexdump", "PATH", "bytes of a file in hexadecimal and as text"},
    {"sha256sum", "PATH...", "SHA-256 checksums of files"},
    {"drain", "PATH", "read a file and show nothing but how long it took"},
    {"wc", "PATH...", "lines, words and bytes of files"},
    {"head", "[-n N] PATH", "the first lines of a file"},
    {"echo", "[TEXT...]", "show text"},
    {"sleep", "SECONDS", "wait"},
    {"date", "", "date and time (UTC)"},
    {"true", "", "exit status 0"},
    {"false", "", "exit status 1"},
    {"crash", "HOW", "die of a fault: divide, wild, stack, execute, kernel, spin, ..."},
};

}  // namespace

u64 work_ns() {
  const Result<sys::SystemInfoResult> info = sys::system_info(kernel_info());
  const u64 counter = read_counter();
  u64 sum = info.has_value() ? ns_of_counter(counter + info->boot_instructions) - ns_of_counter(counter) : 0;
  for (u64 after = 0;;) {
    const Result<sys::ProcessListResult> p = sys::process_list(kernel_info(), after);
    if (!p.has_value()) return sum;
    after = p->id;
    sum += p->cpu_ns;
  }
}

u64 usage(std::string_view name) {
  const Builtin* builtin = find_builtin(name);
  Output out;
  out.print("usage: {} {}\n", name, builtin == nullptr ? "" : builtin->arguments);
  return 2;
}

std::span<const Builtin> builtins() { return kBuiltins; }
std::span<const ProgramHelp> program_help() { return kPrograms; }

const Builtin* find_builtin(std::string_view name) {
  const auto found =
      std::find_if(std::begin(kBuiltins), std::end(kBuiltins), [&](const Builtin& b) { return b.name == name; });
  return found == std::end(kBuiltins) ? nullptr : &*found;
}

}  // namespace keel::shell
