// group: resource groups that a person makes, all of them below the shell's own.
#include <algorithm>

#include "user/apps/shell/commands.h"
#include "user/runtime/clock.h"
#include "user/runtime/group.h"

namespace keel::shell {
namespace {

constexpr u64 kNoLimit = ~u64{0};
constexpr u64 kPeriodNs = 100 * kMillisecond;

NamedGroup* find_group(Shell& shell, std::string_view name) {
  for (NamedGroup& g : shell.groups()) {
    if (g.name.view() == name) return &g;
  }
  return nullptr;
}

// A number with K, M or G behind it, or none.
Result<u64> amount_of(std::string_view text) {
  if (text == "none") return kNoLimit;
  u32 shift = 0;
  if (!text.empty()) {
    const char unit = text.back();
    shift = unit == 'K' ? 10 : unit == 'M' ? 20 : unit == 'G' ? 30 : 0;
    if (shift != 0) text.remove_suffix(1);
  }
  const u64 number = TRY(number_of(text));
  if (number > (kNoLimit - 1) >> shift) return Status::out_of_range;
  return number << shift;
}

FixedString<24> amount(u64 value, u64 unit = 1) {
  FixedString<24> out;
  if (value == kNoLimit) {
    out.append("none");
  } else {
    format(out, "{}", value / unit);
  }
  return out;
}

u64 create(Shell& shell, std::string_view name) {
  if (name.size() > 16) return shell.fail("group", name, Status::too_big, "the name is longer than 16 letters");
  if (find_group(shell, name) != nullptr) return shell.fail("group", name, Status::already_exists);
  Result<CapIndex> made = create_group(self().group, name);
  if (!made.has_value()) return shell.fail("group", name, made.error());
  shell.groups().push_back({FixedString<16>(name), Cap(*made)});
  return 0;
}

// cpu=30% memory=16M kernel=1M objects=200 queue=64K weight=300; "none" takes a limit away.
u64 limit(Shell& shell, NamedGroup& g, Words settings) {
  Result<sys::GroupInfoResult> info = sys::group_info(g.group.get());
  Result<sys::GroupUsageResult> usage = sys::group_usage(g.group.get());
  if (!info.has_value() || !usage.has_value()) {
    return shell.fail("group", g.name.view(), info.has_value() ? usage.error() : info.error());
  }
  for (const std::string_view setting : settings) {
    const usize equals = setting.find('=');
    const std::string_view what = setting.substr(0, equals);
    std::string_view value = equals == std::string_view::npos ? std::string_view() : setting.substr(equals + 1);
    const bool percent = value.ends_with('%');
    if (percent) value.remove_suffix(1);
    const Result<u64> number =
        percent != (what == "cpu" && value != "none") ? Status::invalid_argument : amount_of(value);
    if (!number.has_value()) {
      return shell.fail("group", setting, number.error(), "not a limit; for example cpu=30% memory=16M objects=none");
    }
    if (what == "cpu") {
      usage->period_ns = *number == kNoLimit ? 0 : kPeriodNs;
      usage->budget_ns = *number == kNoLimit ? 0 : kPeriodNs / 100 * std::min(*number, u64{100'000});
    } else if (what == "weight") {
      usage->weight = *number;
    } else if (what == "memory") {
      info->memory_limit = *number == kNoLimit ? kNoLimit : *number / kPageSize;
    } else if (what == "kernel") {
      info->kernel_limit = *number;
    } else if (what == "objects") {
      info->object_limit = *number;
    } else if (what == "queue") {
      info->queue_limit = *number;
    } else {
      return shell.fail("group", what, Status::invalid_argument,
                        "no such limit: cpu weight memory kernel objects queue");
    }
  }
  const Result<void> cpu = sys::group_set_cpu(g.group.get(), usage->budget_ns, usage->period_ns, usage->weight);
  if (!cpu.has_value()) return shell.fail("group", g.name.view(), cpu.error(), "cpu or weight out of range");
  const Result<void> set = sys::group_set_limits(g.group.get(), info->memory_limit, info->kernel_limit,
                                                 info->object_limit, info->queue_limit);
  return set.has_value() ? 0 : shell.fail("group", g.name.view(), set.error());
}

u64 count_processes(CapIndex group) {
  u64 count = 0;
  for (u64 after = 0;;) {
    const Result<sys::GroupProcessesResult> p = sys::group_processes(group, after);
    if (!p.has_value()) return count;
    after = p->id;
    if ((p->state_threads & 0xffff'ffff) < 3) ++count;  // not dead
  }
}

// One line for each group, all of them measured over the same time.
u64 show(Shell& shell, std::span<NamedGroup> groups) {
  if (groups.empty()) {
    print_text("no groups; `group create NAME` makes one\n");
    return 0;
  }
  std::vector<u64> before;
  for (const NamedGroup& g : groups) {
    const Result<sys::GroupUsageResult> usage = sys::group_usage(g.group.get());
    before.push_back(usage.has_value() ? usage->cpu_ns : 0);
  }
  const u64 start = now_ns();
  sleep_until(after(200 * kMillisecond));
  Output out;
  out.print("{:<16} {:>6} {:>7} {:>6} {:>9} {:>8} {:>15} {:>15} {:>13} {:>9}\n", "name", "weight", "cpu max", "cpu %",
            "cpu s", "overruns", "memory KiB/max", "kernel KiB/max", "objects/max", "processes");
  for (usize i = 0; i < groups.size(); ++i) {
    const CapIndex cap = groups[i].group.get();
    const Result<sys::GroupInfoResult> info = sys::group_info(cap);
    const Result<sys::GroupUsageResult> usage = sys::group_usage(cap);
    const u64 elapsed = now_ns() - start;
    if (!info.has_value() || !usage.has_value()) {
      out.flush();
      return shell.fail("group", groups[i].name.view(), info.has_value() ? usage.error() : info.error());
    }
    FixedString<16> most("none");
    if (usage->period_ns != 0) {
      most.clear();
      format(most, "{}%", (usage->budget_ns * 100 + usage->period_ns / 2) / usage->period_ns);
    }
    FixedString<40> memory, kernel, objects;
    format(memory, "{}/{}", info->memory_pages * 4,
           amount(info->memory_limit == kNoLimit ? kNoLimit : info->memory_limit * 4).view());
    format(kernel, "{}/{}", info->kernel_bytes / 1024, amount(info->kernel_limit, 1024).view());
    format(objects, "{}/{}", info->objects, amount(info->object_limit).view());
    out.print("{:<16} {:>6} {:>7} {:>6} {:>9} {:>8} {:>15} {:>15} {:>13} {:>9}\n", groups[i].name.view(), usage->weight,
              most.view(), Percent{usage->cpu_ns - before[i], elapsed}.text().view(), seconds_of(usage->cpu_ns).view(),
              usage->overruns, memory.view(), kernel.view(), objects.view(), count_processes(cap));
  }
  return 0;
}

u64 kill(Shell& shell, NamedGroup& g) {
  const u64 processes = count_processes(g.group.get());
  const Result<void> killed = sys::group_kill(g.group.get(), kExitKilled);
  if (!killed.has_value()) return shell.fail("group", g.name.view(), killed.error());
  Output out;
  out.print("{} process{} killed\n", processes, processes == 1 ? "" : "es");
  return 0;
}

u64 help() {
  print_text(
      "usage: group                                 all groups and what they use\n"
      "       group create NAME\n"
      "       group limit NAME cpu=30% weight=300 memory=16M kernel=1M objects=200 queue=64K\n"
      "       group run NAME PROGRAM [ARG...]       also with & at the end\n"
      "       group show NAME\n"
      "       group kill NAME                       every process in it\n"
      "       group remove NAME                     when it is empty\n");
  return 2;
}

}  // namespace

u64 group(Shell& shell, Words words) {
  if (words.size() == 1) return show(shell, shell.groups());
  if (words.size() < 3) return help();
  const std::string_view what = words[1];
  const std::string_view name = words[2];
  if (what == "create" && words.size() == 3) return create(shell, name);
  NamedGroup* g = find_group(shell, name);
  if (g == nullptr) return shell.fail("group", name, Status::not_found, "no such group; `group` lists them");
  if (what == "limit" && words.size() > 3) return limit(shell, *g, words.subspan(3));
  if (what == "run" && words.size() > 3) return shell.run_in_group(g->group.get(), words.subspan(3));
  if (words.size() != 3) return help();
  if (what == "show") return show(shell, std::span(g, 1));
  if (what == "kill") return kill(shell, *g);
  if (what != "remove") return help();
  if (count_processes(g->group.get()) != 0) {
    return shell.fail("group", name, Status::busy, "there are processes in it; `group kill` ends them");
  }
  shell.groups().erase(shell.groups().begin() + (g - shell.groups().data()));
  return 0;
}

}  // namespace keel::shell
