// audit: what was done with authority, from the kernel's audit records.
#include <algorithm>
#include <cstring>
#include <vector>

#include "abi/calls.h"
#include "abi/config.h"
#include "user/apps/shell/commands.h"
#include "user/apps/shell/object_names.h"
#include "user/runtime/clock.h"
#include "user/runtime/machine.h"
#include "user/runtime/stubs.h"

namespace keel::shell {
namespace {

constexpr u64 kShown = 20;  // without -n

std::string_view event_name(AuditEvent event) {
  constexpr std::string_view kNames[] = {"?",      "grant", "derive", "revoke", "transfer",
                                         "DENIED", "seal",  "unseal", "expire", "WEAKEN"};
  const usize i = static_cast<usize>(event);
  return i < std::size(kNames) ? kNames[i] : "?";
}

// Names of processes; each is asked for once.
class ProcessNames {
 public:
  std::string_view of(u64 pid) {
    for (const auto& [known, name] : known_) {
      if (known == pid) return name.view();
    }
    FixedString<24> name = name_of_process(pid);
    if (name == "gone") name = FixedString<24>(), format(name, "pid {}", pid);
    return known_.emplace_back(pid, name).second.view();
  }

 private:
  std::vector<std::pair<u64, FixedString<24>>> known_;
};

void print_record(Output& out, ProcessNames& names, const ObjectNames& objects, const AuditRecord& r) {
  const u64 us = r.time_ns / 1000;
  const ObjectKind kind = static_cast<ObjectKind>(r.kind);
  const bool is_object = r.event != AuditEvent::weaken;
  const FixedString<64> object = is_object ? objects.object(kind, r.object) : FixedString<64>();
  out.print("[{:>4}.{:03}] {:<9} {:<14} ", us / 1000, us % 1000, event_name(r.event), names.of(r.process));
  if (r.event == AuditEvent::weaken) {
    std::string_view name = "?";
    for (const KnobDescription& k : kKnobs) name = static_cast<u64>(k.knob) == r.object ? k.name : name;
    out.print("{} is {} now", name, r.other);
  } else if (r.event == AuditEvent::denial) {
    const char* call = call_name(r.call);
    out.print("{}: {}", call == nullptr ? "?" : call, status_name(static_cast<Status>(r.status)));
    if (r.object == 0) {
      out.print(", index {:#x}", r.other);
    } else {
      out.print(", {} with rights: {}", object.view(), names_of_rights(kind, r.rights).view());
    }
    if (r.repeated != 0) out.print(", and {} more of the same", r.repeated);
  } else {
    const bool given = r.event == AuditEvent::grant || r.event == AuditEvent::transfer;
    if (given) out.print("to {:<14} ", names.of(r.other));
    if (r.event == AuditEvent::unseal) out.print("of {:<14} ", names.of(r.other));
    out.print("{}", object.view());
    if (r.event != AuditEvent::expire) out.print(": {}", names_of_rights(kind, r.rights).view());
  }
  out.print("\n");
}

// Appends the CPU's records from *cursor on and moves it; how many were lost.
Result<u64> read_records(u64 cpu, u64* cursor, std::vector<AuditRecord>* into) {
  for (u64 lost = 0;;) {
    const sys::AuditReadResult r = TRY(sys::audit_read(find_capability("kernel-audit"), cpu, *cursor));
    *cursor = r.next;
    lost += r.lost;
    const usize before = into->size();
    into->resize(before + r.count);
    if (r.count != 0) std::memcpy(into->data() + before, message_page().words, r.count * sizeof(AuditRecord));
    if (r.count < kAuditRecordsPerRead) return lost;
  }
}

}  // namespace

u64 audit(Shell& shell, Words words) {
  u64 shown = kShown;
  bool follow = false;
  for (usize i = 1; i < words.size(); ++i) {
    if (words[i] == "--follow" || words[i] == "-f") {
      follow = true;
    } else if (const Result<u64> number = number_of(words[i]); number.has_value()) {
      shown = *number;
    } else {
      return usage("audit");
    }
  }
  const Result<sys::SystemInfoResult> info = sys::system_info(find_capability("kernel-info"));
  if (!info.has_value()) return shell.fail("audit", "", info.error());
  std::vector<u64> cursors(info->cpus, 0);
  Output out;
  ProcessNames names;
  const ObjectNames objects(shell.manager());
  if (follow) shell.begin_foreground();
  u64 status = 0;
  for (bool first = true;; first = false) {
    std::vector<AuditRecord> records;
    u64 lost = 0;
    for (u64 cpu = 0; cpu < cursors.size() && status == 0; ++cpu) {
      const Result<u64> read = read_records(cpu, &cursors[cpu], &records);
      if (read.has_value()) {
        lost += *read;
      } else {
        status = shell.fail("audit", "", read.error());
      }
    }
    std::stable_sort(records.begin(), records.end(),
                     [](const AuditRecord& a, const AuditRecord& b) { return a.time_ns < b.time_ns; });
    const usize left_out = first && records.size() > shown ? records.size() - shown : 0;
    for (usize i = left_out; i < records.size(); ++i) print_record(out, names, objects, records[i]);
    if (first && !follow && status == 0) {
      out.print("{} of {} records; {} older ones were overwritten\n", records.size() - left_out, records.size(), lost);
    } else if (!first && lost != 0) {
      out.print("({} records were overwritten meanwhile)\n", lost);
    }
    out.flush();
    if (status != 0 || !follow || shell.interrupted(after(200 * kMillisecond))) break;
  }
  if (follow) shell.end_foreground();
  return status;
}

}  // namespace keel::shell
