// Jobs: the processes that the shell started and has not reported as ended. Pure: who asks the kernel tells it here.
#pragma once

#include <string_view>
#include <vector>

#include "base/fixed.h"
#include "user/runtime/capabilities.h"

namespace keel::shell {

// Exit statuses that the shell gives.
inline constexpr u64 kExitKilled = 137;
inline constexpr u64 kExitInterrupted = 130;

enum class JobState : u8 { running, ended };

struct Job {
  u32 number = 0;  // 0: in the foreground
  u64 pid = 0;
  FixedString<120> text;
  Cap process;
  JobState state = JobState::running;
  u64 exit_status = 0;
};

class Jobs {
 public:
  // The lowest free number.
  Job& add_background(std::string_view text, u64 pid, Cap process);
  Job* find_pid(u64 pid);
  Job* find_number(u32 number);
  // Forgets the jobs that ended, after calling report(const Job&) for each.
  template <class Report>
  void take_ended(Report&& report) {
    for (usize i = 0; i < list_.size();) {
      if (list_[i].state == JobState::running) {
        ++i;
        continue;
      }
      report(static_cast<const Job&>(list_[i]));
      list_.erase(list_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  bool any_running() const;
  std::vector<Job>& list() { return list_; }

 private:
  std::vector<Job> list_;  // by number
};

// "done", "exit status 2", "killed", "died: division error".
FixedString<64> describe_exit(u64 status);
// Whether the process died of a fault.
bool is_fault(u64 status);

}  // namespace keel::shell
