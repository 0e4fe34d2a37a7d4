#include "user/apps/shell/shell.h"

#include <algorithm>

#include "user/apps/shell/completion.h"
#include "user/runtime/clock.h"
#include "user/runtime/file.h"
#include "user/runtime/group.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"

namespace keel::shell {
namespace {

constexpr std::string_view kPrompt = "keel> ";
constexpr u64 kMaxProgramBytes = u64{64} << 20;
constexpr u64 kDead = 3;  // process_info: state
constexpr u64 kPatience = 100 * kMillisecond;

// The program's image: in the boot archive, or read from a file system.
struct Image {
  std::span<const std::byte> bytes;
  CapIndex memory;  // none: bytes are a copy
  u64 offset = 0;
  Mapping copy;
};

}  // namespace

Shell::Shell()
    : console_(find_capability("console")),
      manager_(find_capability("manager")),
      events_(find_capability("events")),
      initrd_(find_capability("initrd")) {
  if (events_ == kNoCapability) {  // started by hand
    Result<Cap> made = own(sys::notification_create(self().group));
    if (!made.has_value()) fatal("shell: no notification");
    own_events_ = std::move(*made);
    events_ = own_events_.get();
  }
  if (initrd_ != kNoCapability) {
    Result<Mapping> mapped = Mapping::map(initrd_, Access::read);
    Result<CpioArchive> archive = mapped.has_value() ? CpioArchive::open(mapped->bytes()) : mapped.error();
    if (archive.has_value()) {
      image_ = std::move(*mapped);
      archive_ = *archive;
    } else {
      log_warning("shell: the boot archive cannot be read: {}", archive.error());
    }
  }
  Result<Cap> group = own(create_group(self().group, "shell"));
  if (group.has_value()) children_ = std::move(*group);
  static ShellCompleter completer(*this);
  editor_ = std::make_unique<LineEditor>(editor_out_, &completer);
}

void Shell::run() {
  end_foreground();  // a predecessor may have died with something in the foreground
  if (manager_) static_cast<void>(manager_.ready());
  for (;;) {
    refresh_jobs();
    report_jobs();
    const std::string_view line = read_line();
    if (!line.empty()) status_ = run_line(line);
  }
}

// ---- input ---------------------------------------------------------------------------------------------------------

// Empty: the line was given up.
std::string_view Shell::read_line() {
  if (const Result<ConsoleSizeResult> size = console_.size(after(kSecond)); size.has_value()) {
    editor_->set_columns(size->columns == 0 ? kDefaultColumns : size->columns);
  }
  editor_->start(kPrompt);
  editor_out_.flush();
  if (first_prompt_ns_ == 0) {
    first_prompt_ns_ = now_ns();
    first_prompt_work_ns_ = work_ns();
  }
  for (;;) {
    while (typed_used_ < typed_.size()) {
      const LineEditor::Event event = editor_->feed(static_cast<char>(typed_.data()[typed_used_++]));
      if (event == LineEditor::Event::none) continue;
      editor_out_.flush();
      return event == LineEditor::Event::line ? editor_->line() : std::string_view();
    }
    editor_out_.flush();
    typed_used_ = 0;
    typed_.clear();
    Result<FixedBytes<512>> got = console_.read(512, kForever.value);
    if (got.has_value()) {
      typed_ = *got;
      if (typed_.size() == 0) editor_->show_again();  // a log record fell into the line
    } else if (got.error() != Status::peer_died) {
      sleep_until(after(kPatience));  // the console comes back or is gone for good; either way there is no hurry
    }
  }
}

// ---- the foreground ------------------------------------------------------------------------------------------------

void Shell::set_foreground() {
  static_cast<void>(console_.set_foreground(events_, in_foreground_ ? kInterruptBit : 0, after(kSecond)));
}

void Shell::begin_foreground() {
  static_cast<void>(sys::notification_wait(events_, kPoll));  // forget an old Ctrl-C
  in_foreground_ = true;
  was_interrupted_ = false;
  set_foreground();
  take_typed_ahead();
}

// What was typed since Enter and before the console knew of the foreground. Ctrl-C among it drops the rest and counts.
void Shell::take_typed_ahead() {
  const Result<FixedBytes<512>> ahead = console_.read(512, kPoll.value, after(kSecond));
  FixedBytes<512> kept(typed_.span().subspan(typed_used_));
  if (ahead.has_value()) {
    const std::string_view text = ahead->text();
    const usize control_c = text.rfind('\x03');
    if (control_c != std::string_view::npos) {
      was_interrupted_ = true;
      kept.clear();
    }
    const usize from = control_c == std::string_view::npos ? 0 : control_c + 1;
    const usize size = std::min(kept.room(), text.size() - from);
    kept.append(ahead->span().subspan(from, size));
  }
  typed_ = kept;
  typed_used_ = 0;
}

void Shell::end_foreground() {
  in_foreground_ = false;
  set_foreground();
}

u64 Shell::wait_events(Deadline deadline) {
  const Result<u64> bits = sys::notification_wait(events_, deadline);
  if (!bits.has_value()) return 0;
  if ((*bits & (u64{1} << kConsoleBit)) != 0) set_foreground();
  if ((*bits & kInterruptBit) != 0) was_interrupted_ = true;
  return *bits;
}

bool Shell::key_pressed(Deadline deadline) {
  const Result<FixedBytes<512>> got = console_.read(512, deadline.value, Deadline(deadline.value + kSecond));
  return got.has_value() && !got->text().empty();
}

bool Shell::interrupted(Deadline deadline) {
  if (!was_interrupted_) wait_events(deadline);
  return was_interrupted_;
}

u64 Shell::wait_foreground(const Cap& process) {
  for (;;) {
    const Result<sys::ProcessInfoResult> info = sys::process_info(process.get());
    if (!info.has_value()) return kExitKilled;
    if (info->state == kDead) return info->exit_status;
    if (!was_interrupted_) wait_events(after(kSecond));
    if (!was_interrupted_) continue;
    static_cast<void>(sys::process_kill(process.get(), kExitInterrupted));
    static_cast<void>(sys::process_wait(process.get(), after(kSecond)));
    print_text("^C\n");
    return kExitInterrupted;
  }
}

void Shell::wait_jobs(u32 number) {
  begin_foreground();
  for (;;) {
    refresh_jobs();
    report_jobs();
    const Job* job = number == 0 ? nullptr : jobs_.find_number(number);
    if (number == 0 ? !jobs_.any_running() : job == nullptr) break;
    if (!was_interrupted_) wait_events(after(kSecond));
    if (was_interrupted_) break;
  }
  end_foreground();
}

void Shell::refresh_jobs() {
  for (Job& job : jobs_.list()) {
    const Result<sys::ProcessInfoResult> info = sys::process_info(job.process.get());
    if (info.has_value() && info->state != kDead) continue;
    job.state = JobState::ended;
    job.exit_status = info.has_value() ? info->exit_status : kExitKilled;
  }
}

void Shell::report_jobs() {
  Output out;
  jobs_.take_ended([&](const Job& job) {
    out.print("[{}] {:<24} {}\n", job.number, describe_exit(job.exit_status).view(), job.text.view());
  });
}

// ---- running -------------------------------------------------------------------------------------------------------

u64 Shell::fail(std::string_view command, std::string_view what, Status status, std::string_view why) {
  const LastError& last = last_error();
  failure_.command = command;
  failure_.status = status;
  failure_.has_call = last.status == status && status != Status::ok;
  if (failure_.has_call) failure_.explanation = explain_last_error();
  Output out;
  out.print("{}: {}{}{}\n", command, what, what.empty() ? "" : ": ",
            why.empty() ? std::string_view(status_text(status)) : why);
  return 1;
}

u64 Shell::run_line(std::string_view line) {
  const std::unique_ptr<Command> command(new (std::nothrow) Command);
  if (command == nullptr) return fail("shell", "", Status::no_memory);
  const char* reason = "?";
  FixedString<120> text(line);
  if (const Result<void> parsed = parse_command(line, command.get(), &reason); !parsed.has_value()) {
    return fail("shell", "", parsed.error(), reason);
  }
  if (command->words().empty()) return status_;
  // Whatever the command makes others do is one trace.
  if (const Result<sys::RandomGetResult> id = sys::random_get(1); id.has_value())
    static_cast<void>(sys::trace_context(id->r0 | 1, 0, sys::trace_context_flags::SET));
  return run_words(command->words(), command->background(), text);
}

u64 Shell::run_in_group(CapIndex group, Words words) {
  if (find_builtin(words[0]) != nullptr) {
    return fail("shell", words[0], Status::not_supported, "is built in: only a program can run in a group");
  }
  start_group_ = group;
  const u64 status = run_words(words, background_, text_);
  start_group_ = kNoCapability;
  return status;
}

u64 Shell::run_words(Words words, bool background, std::string_view text) {
  if (const Builtin* builtin = find_builtin(words[0])) {
    if (background && !builtin->background)
      return fail("shell", words[0], Status::not_supported, "is built in and cannot run in the background");
    background_ = background;
    text_ = text;
    return builtin->run(*this, words);
  }
  const std::string_view name = words[0];
  const bool is_path = name.find('/') != std::string_view::npos;
  FixedString<300> path(is_path ? "" : "/bin/");
  if (!path.append(name)) return fail("shell", "", Status::too_big, "the name of the program is too long");
  std::string_view what;
  if (!background) begin_foreground();
  Result<Child> child = start(path, words, &what);
  if (!child.has_value()) {
    if (!background) end_foreground();
    const bool unknown = child.error() == Status::not_found && !is_path && what == "program";
    if (unknown) return fail(name, "", child.error(), "no such command; `help` lists them");
    FixedString<160> why;
    if (what == "program") {
      why = explain_path_error(path, child.error());
    } else {
      format(why, "cannot start ({}): {}", what, status_text(child.error()));
    }
    return fail(is_path ? "shell" : name, is_path ? name : std::string_view(), child.error(), why);
  }
  if (background) {
    while (text.ends_with('&') || text.ends_with(' ')) text.remove_suffix(1);
    static_cast<void>(sys::process_watch(child->process.get(), events_, kChildBit));
    const Job& job = jobs_.add_background(text, child->id, std::move(child->process));
    Output out;
    out.print("[{}] {}\n", job.number, job.pid);
    return 0;
  }
  static_cast<void>(sys::process_watch(child->process.get(), events_, kChildBit));
  const u64 status = wait_foreground(child->process);
  end_foreground();
  const Result<sys::ProcessInfoResult> used = sys::process_info(child->process.get());
  last_cpu_ns_ = used.has_value() ? used->cpu_ns : 0;
  // Of a fault the kernel's record tells more, and the log service shows it.
  if (status == kExitKilled) {
    Output out;
    out.print("{}: {}\n", name, describe_exit(status).view());
  }
  return status;
}

Result<Child> Shell::start(std::string_view path, Words arguments, std::string_view* what) {
  *what = "program";
  Image image;
  Result<CpioEntry> entry = archive_.find(path);
  for (u32 links = 0; entry.has_value() && entry->type == CpioType::symlink && links < 8; ++links) {
    const std::string_view target(reinterpret_cast<const char*>(entry->data.data()), entry->data.size());
    const usize slash = entry->name.rfind('/');
    FixedString<512> next(target.starts_with('/') || slash == std::string_view::npos
                              ? std::string_view()
                              : entry->name.substr(0, slash + 1));
    if (!next.append(target)) return Status::too_big;
    entry = archive_.find(next);
  }
  if (entry.has_value()) {
    if (entry->type == CpioType::directory) return Status::is_a_directory;
    image.bytes = entry->data;
    image.memory = initrd_;
    image.offset = static_cast<u64>(entry->data.data() - archive_.bytes().data());
  } else {
    File file = TRY(File::open(path));
    if (file.size() == 0 || file.size() > kMaxProgramBytes) return Status::corrupt;
    image.copy = TRY(Mapping::create(align_up(file.size(), kPageSize) / kPageSize));
    image.bytes = image.copy.bytes().first(TRY(file.read(image.copy.bytes().first(file.size()))));
  }
  const usize slash = path.rfind('/');
  const std::string_view name = slash == std::string_view::npos ? path : path.substr(slash + 1);
  std::vector<Grant> grants;
  for (const std::string_view wanted : {"console", "vfs", "time", "log"}) {
    const CapIndex capability = find_capability(wanted);
    if (capability != kNoCapability) grants.push_back({wanted, capability});
  }
  const char* step = "";
  Result<Child> child = spawn_process({.name = name,
                                       .image = image.bytes,
                                       .image_memory = image.memory,
                                       .image_offset = image.offset,
                                       .arguments = arguments,
                                       .grants = grants,
                                       .group = start_group_ != kNoCapability ? start_group_
                                                : children_                   ? children_.get()
                                                                              : self().group},
                                      &step);
  *what = step;
  return child;
}

}  // namespace keel::shell
