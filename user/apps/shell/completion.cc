#include "user/apps/shell/completion.h"

#include "user/runtime/file.h"

namespace keel::shell {
namespace {

bool is_blank(std::string_view text) { return text.find_first_not_of(' ') == std::string_view::npos; }

void offer(std::string_view candidate, std::string_view word, CandidateSink& candidates) {
  if (candidate.starts_with(word)) candidates.add(candidate);
}

}  // namespace

void ShellCompleter::complete(std::string_view before, std::string_view word, CandidateSink& candidates) {
  const bool is_command = is_blank(before) || before == "time " || before == "help ";
  if (is_command && word.find('/') == std::string_view::npos) {
    for (const Builtin& builtin : builtins()) offer(builtin.name, word, candidates);
    for (const CpioEntry& entry : shell_.archive()) {
      if (!entry.name.starts_with("bin/") || entry.type == CpioType::directory) continue;
      const std::string_view name = entry.name.substr(4);
      bool is_service = true;  // services are no commands
      for (const ProgramHelp& program : program_help()) is_service = is_service && program.name != name;
      if (!is_service) offer(name, word, candidates);
    }
    return;
  }
  const usize slash = word.rfind('/');
  const std::string_view directory = slash == std::string_view::npos ? std::string_view() : word.substr(0, slash + 1);
  static_cast<void>(for_each_in_directory(directory.empty() ? "/" : directory, [&](const DirectoryEntry& entry) {
    FixedString<1024> candidate(directory);
    if (!candidate.append(entry.name)) return true;
    if (entry.type == FileType::directory) candidate.append("/");
    offer(candidate, word, candidates);
    return true;
  }));  // nothing to offer if it fails
}

}  // namespace keel::shell
