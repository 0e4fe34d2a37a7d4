// ps and top: who works, and how much. Both look twice and show what happened in between.
#include <algorithm>
#include <map>

#include "user/apps/shell/commands.h"
#include "user/runtime/clock.h"

namespace keel::shell {
namespace {

std::string_view process_state_name(u64 state) {
  constexpr std::string_view kNames[] = {"new", "running", "exiting", "dead"};
  return state < std::size(kNames) ? kNames[state] : "?";
}

std::string_view thread_state_name(u64 state) {
  constexpr std::string_view kNames[] = {"new", "ready", "waiting", "stopped", "fault", "dead", "running"};
  return state < std::size(kNames) ? kNames[state] : "?";
}

struct ThreadSample {
  sys::ThreadListResult thread;
  u64 process = 0;
  KernelName<3> name{};
  u64 used_ns = 0;  // since the sample before
};

struct NodeSample {
  u64 idle_ns = 0;
  u64 cpus = 0;
};

struct Sample {
  u64 at_ns = 0;
  u64 idle_ns = 0;  // of all CPUs
  u64 cpus = 0;
  std::map<u64, NodeSample> nodes;
  std::vector<sys::ProcessListResult> processes;
  std::vector<ThreadSample> threads;

  u64 busiest_level(u64 process) const {
    u64 level = 0;
    for (const ThreadSample& t : threads) {
      if (t.process == process) level = std::max(level, t.thread.level & 0xffff'ffff);
    }
    return level;
  }
  KernelName<2> group(u64 process) const {
    for (const ThreadSample& t : threads) {
      if (t.process == process) return group_of(t.thread);
    }
    return {{'-', 0}};
  }
};

Result<Sample> take_sample() {
  Sample s;
  for (;; ++s.cpus) {
    const Result<sys::CpuInfoResult> cpu = sys::cpu_info(kernel_info(), s.cpus);
    if (!cpu.has_value()) {
      if (cpu.error() == Status::out_of_range) break;
      return cpu.error();
    }
    s.at_ns = cpu->now_ns;
    s.idle_ns += cpu->idle_ns;
    s.nodes[cpu->node].idle_ns += cpu->idle_ns;
    ++s.nodes[cpu->node].cpus;
  }
  for (u64 after = 0;;) {
    const Result<sys::ProcessListResult> p = sys::process_list(kernel_info(), after);
    if (!p.has_value()) {
      if (p.error() == Status::not_found) return s;
      return p.error();
    }
    after = p->id;
    s.processes.push_back(*p);
    for (u64 thread = 0;;) {
      const Result<sys::ThreadListResult> t = sys::thread_list(kernel_info(), p->id, thread);
      if (!t.has_value()) break;
      thread = t->id;
      s.threads.push_back({.thread = *t, .process = p->id, .name = name_of(*p)});
    }
  }
}

// What each process and thread used since `before`; who is new has used all that it has.
template <class T, class Id, class Used>
std::map<u64, u64> used_by(const std::vector<T>& items, Id id, Used used) {
  std::map<u64, u64> out;
  for (const T& item : items) out[id(item)] = used(item);
  return out;
}

}  // namespace

u64 ps(Shell& shell, Words) {
  const Result<Sample> before = take_sample();
  if (!before.has_value()) return shell.fail("ps", "", before.error());
  sleep_until(after(100 * kMillisecond));
  const Result<Sample> now = take_sample();
  if (!now.has_value()) return shell.fail("ps", "", now.error());
  auto had = used_by(before->processes, [](const auto& p) { return p.id; }, [](const auto& p) { return p.cpu_ns; });
  Output out;
  out.print("{:>5}  {:<20} {:<8} {:>5} {:>7} {:>6} {:>10} {:>10} {:>5}  {}\n", "pid", "name", "state", "level",
            "threads", "cpu %", "cpu s", "memory KiB", "caps", "group");
  for (const sys::ProcessListResult& p : now->processes) {
    const Percent share{p.cpu_ns - std::min(p.cpu_ns, had[p.id]), now->at_ns - before->at_ns};
    out.print("{:>5}  {:<20} {:<8} {:>5} {:>7} {:>6} {:>10} {:>10} {:>5}  {}\n", p.id, name_of(p).view(),
              process_state_name(p.state_threads & 0xffff'ffff), now->busiest_level(p.id), p.state_threads >> 32,
              share.text().view(), seconds_of(p.cpu_ns).view(), p.memory_pages * (kPageSize / 1024), p.capabilities,
              now->group(p.id).view());
  }
  return 0;
}

namespace {

void show_top(Sample& now, const Sample& before, u32 rows) {
  auto had = used_by(
      before.threads, [](const ThreadSample& t) { return t.thread.id; },
      [](const ThreadSample& t) { return t.thread.cpu_ns; });
  const u64 elapsed = now.at_ns - before.at_ns;
  for (ThreadSample& t : now.threads) t.used_ns = t.thread.cpu_ns - std::min(t.thread.cpu_ns, had[t.thread.id]);
  // Who used nothing comes last, by what it has used ever.
  std::sort(now.threads.begin(), now.threads.end(), [](const ThreadSample& a, const ThreadSample& b) {
    if (a.used_ns != b.used_ns) return a.used_ns > b.used_ns;
    return a.thread.cpu_ns != b.thread.cpu_ns ? a.thread.cpu_ns > b.thread.cpu_ns : a.thread.id < b.thread.id;
  });
  Output out;
  const Percent idle{now.idle_ns - before.idle_ns, elapsed * now.cpus};
  out.print("up {} s, {} CPU{}, idle {} %, {} processes, {} threads\n", now.at_ns / kSecond, now.cpus,
            now.cpus == 1 ? "" : "s", idle.text().view(), now.processes.size(), now.threads.size());
  for (const auto& [node, sample] : now.nodes) {
    if (now.nodes.size() == 1) break;
    const auto old = before.nodes.find(node);
    const Percent rest{sample.idle_ns - (old != before.nodes.end() ? old->second.idle_ns : 0), elapsed * sample.cpus};
    out.print("node {}: {} CPU{}, idle {} %\n", node, sample.cpus, sample.cpus == 1 ? "" : "s", rest.text().view());
  }
  out.print("\n{:>6} {:>5}  {:<20} {:>5} {:<8} {:>6} {:>10}  {}\n", "thread", "pid", "name", "level", "state", "cpu %",
            "cpu s", "group");
  u32 shown = 0;
  for (const ThreadSample& t : now.threads) {
    if (++shown > rows) break;
    FixedString<16> level;
    const u64 runs_at = t.thread.level & 0xffff'ffff;
    // Who runs at another level than its own inherited it.
    format(level, "{}{}", runs_at, runs_at == t.thread.level >> 32 ? "" : "*");
    out.print("{:>6} {:>5}  {:<20} {:>5} {:<8} {:>6} {:>10}  {}\n", t.thread.id, t.process, t.name.view(), level.view(),
              thread_state_name(t.thread.state), Percent{t.used_ns, elapsed}.text().view(),
              seconds_of(t.thread.cpu_ns).view(), group_of(t.thread).view());
  }
}

}  // namespace

u64 top(Shell& shell, Words words) {
  u64 count = 0;
  if (words.size() != 1) {
    const Result<u64> number = words.size() == 3 && words[1] == "-n" ? number_of(words[2]) : Status::invalid_argument;
    if (!number.has_value() || *number == 0) return usage("top");
    count = *number;
  }
  constexpr u32 kHeadRows = 4;  // and one for the prompt
  u32 rows = 20;
  if (const Result<ConsoleSizeResult> size = shell.console().size(after(kSecond)); size.has_value()) {
    if (size->rows > kHeadRows + 1) rows = size->rows - kHeadRows;
  }
  Result<Sample> before = take_sample();
  for (u64 n = 0; before.has_value() && (count == 0 || n < count); ++n) {
    const Deadline next = after(n == 0 ? kSecond / 4 : kSecond);
    if (count != 0) {
      sleep_until(next);
    } else if (shell.key_pressed(next)) {
      return 0;
    }
    Result<Sample> now = take_sample();
    if (now.has_value()) {
      if (count == 0) print_text("\033[H\033[J");
      show_top(*now, *before, count == 0 ? rows : ~u32{0});
    }
    before = std::move(now);
  }
  return before.has_value() ? 0 : shell.fail("top", "", before.error());
}

}  // namespace keel::shell
