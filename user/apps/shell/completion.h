// Completes commands (builtins and programs in /bin) and paths.
#pragma once

#include "user/apps/shell/line_editor.h"
#include "user/apps/shell/shell.h"

namespace keel::shell {

class ShellCompleter final : public Completer {
 public:
  explicit ShellCompleter(Shell& shell) : shell_(shell) {}
  void complete(std::string_view before, std::string_view word, CandidateSink& candidates) override;

 private:
  Shell& shell_;
};

}  // namespace keel::shell
