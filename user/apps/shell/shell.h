// Shell: a person's session. One thread; it waits either for typed text (a call of the console) or for what runs in the
// foreground (the notification `events`: restarts of services, Ctrl-C, ends of children).
//
// Authority    services.conf gives it what the builtins need. Programs that it starts receive console, vfs, time and
// log,
//              nothing else; each is a process of its own in the group `children_`.
#pragma once

#include <memory>
#include <vector>

#include "idl/console.h"
#include "idl/manager.h"
#include "user/apps/shell/jobs.h"
#include "user/apps/shell/line_editor.h"
#include "user/apps/shell/output.h"
#include "user/apps/shell/parse.h"
#include "user/runtime/cpio.h"
#include "user/runtime/last_error.h"
#include "user/runtime/memory.h"
#include "user/runtime/spawn.h"

namespace keel::shell {

using Words = std::span<const std::string_view>;

class Shell;

struct Builtin {
  std::string_view name;
  std::string_view group;
  std::string_view arguments;
  std::string_view help;
  u64 (*run)(Shell& shell, Words words);  // its exit status
  bool background = false;                // may be followed by &: then it starts a program that is
};

// A resource group that a person has made.
struct NamedGroup {
  FixedString<16> name;
  Cap group;
};
std::span<const Builtin> builtins();
const Builtin* find_builtin(std::string_view name);

// What processors have worked: the kernel until the first process, then all processes that are there. Idling is not in
// it.
u64 work_ns();

// Programs in /bin that `help` describes.
struct ProgramHelp {
  std::string_view name;
  std::string_view arguments;
  std::string_view help;
};
std::span<const ProgramHelp> program_help();

// What failed last, for `explain last`.
struct Failure {
  FixedString<120> command;
  Status status = Status::ok;
  Explanation explanation;
  bool has_call = false;  // a call of the kernel failed with that status; explanation says which
};

class Shell {
 public:
  Shell();
  [[noreturn]] void run();

  // Runs one command line; the exit status.
  u64 run_line(std::string_view line);
  u64 run_words(Words words, bool background, std::string_view text);
  // The same as a part of the command that runs now, in that group.
  u64 run_in_group(CapIndex group, Words words);
  // Starts a program as a child: name in /bin, or a path.
  Result<Child> start(std::string_view path, Words arguments, std::string_view* what);
  // Waits until the process is dead or Ctrl-C was typed, which kills it.
  u64 wait_foreground(const Cap& process);
  // Waits for jobs: all, or the one of that number. Ctrl-C ends the wait.
  void wait_jobs(u32 number);
  // Waits for Ctrl-C until the deadline. For `log -f`.
  bool interrupted(Deadline deadline);
  void begin_foreground();
  void end_foreground();

  // Waits for a key until the deadline; true when one came.
  bool key_pressed(Deadline deadline);

  Jobs& jobs() { return jobs_; }
  std::vector<NamedGroup>& groups() { return groups_; }
  ConsoleClient console() const { return console_; }
  LineEditor& editor() { return *editor_; }
  ManagerClient manager() const { return manager_; }
  const CpioArchive& archive() const { return archive_; }
  Failure& failure() { return failure_; }
  void refresh_jobs();
  u64 status() const { return status_; }
  // CPU time of the last program that ran in the foreground, with what services did on its account.
  u64 last_cpu_ns() const { return last_cpu_ns_; }
  // When it showed its first prompt, in nanoseconds since the kernel's entry, and work_ns() by then.
  u64 first_prompt_ns() const { return first_prompt_ns_; }
  u64 first_prompt_work_ns() const { return first_prompt_work_ns_; }

  // Reports "COMMAND: what: why", remembers it for `explain last`; gives exit status 1.
  u64 fail(std::string_view command, std::string_view what, Status status, std::string_view why = {});

 private:
  static constexpr u32 kConsoleBit = 0;  // the first of `uses` in services.conf
  static constexpr u64 kInterruptBit = u64{1} << 40;
  static constexpr u64 kChildBit = u64{1} << 41;

  std::string_view read_line();
  void report_jobs();
  void set_foreground();
  void take_typed_ahead();
  u64 wait_events(Deadline deadline);

  ConsoleClient console_;
  ManagerClient manager_;
  CapIndex events_;
  Cap own_events_;
  CapIndex initrd_;
  Mapping image_;
  CpioArchive archive_;
  Cap children_;
  CapIndex start_group_;  // pays for the next child; none: children_
  std::vector<NamedGroup> groups_;
  bool background_ = false;  // the builtin that runs was followed by &
  std::string_view text_;    // the whole command line then
  Jobs jobs_;
  Output editor_out_;
  std::unique_ptr<LineEditor> editor_;
  FixedBytes<512> typed_;
  usize typed_used_ = 0;
  bool in_foreground_ = false;
  bool was_interrupted_ = false;
  u64 status_ = 0;
  u64 last_cpu_ns_ = 0;
  u64 first_prompt_ns_ = 0;
  u64 first_prompt_work_ns_ = 0;
  Failure failure_;
};

}  // namespace keel::shell
