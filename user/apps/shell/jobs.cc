#include "user/apps/shell/jobs.h"

#include <algorithm>

#include "abi/types.h"
#include "base/format.h"

namespace keel::shell {

Job& Jobs::add_background(std::string_view text, u64 pid, Cap process) {
  u32 number = 1;
  auto place = list_.begin();
  for (; place != list_.end() && place->number == number; ++place) ++number;
  return *list_.insert(place, Job{number, pid, text, std::move(process)});
}

Job* Jobs::find_pid(u64 pid) {
  const auto found = std::find_if(list_.begin(), list_.end(), [&](const Job& job) { return job.pid == pid; });
  return found == list_.end() ? nullptr : &*found;
}

Job* Jobs::find_number(u32 number) {
  const auto found = std::find_if(list_.begin(), list_.end(), [&](const Job& job) { return job.number == number; });
  return found == list_.end() ? nullptr : &*found;
}

bool Jobs::any_running() const {
  return std::any_of(list_.begin(), list_.end(), [](const Job& job) { return job.state == JobState::running; });
}

bool is_fault(u64 status) { return (status & ~u64{0xff}) == kFaultStatus; }

FixedString<64> describe_exit(u64 status) {
  FixedString<64> text;
  if (status == 0) {
    text = "done";
  } else if (is_fault(status)) {
    format(text, "died: {}", fault_name(static_cast<FaultKind>(status & 0xff)));
  } else if (status == kExitKilled) {
    text = "killed";
  } else if (status == kExitInterrupted) {
    text = "interrupted";
  } else {
    format(text, "exit status {}", status);
  }
  return text;
}

}  // namespace keel::shell
