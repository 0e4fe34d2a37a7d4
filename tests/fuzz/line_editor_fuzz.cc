// LineEditor: any bytes, on terminals of any width; the cursor stays inside the line.
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "user/apps/shell/line_editor.h"
#include "user/apps/shell/parse.h"

namespace {

using namespace keel;         // NOLINT
using namespace keel::shell;  // NOLINT

struct Counter final : FormatSink {
  void write(std::string_view text) override {
    for (const char c : text) sum = sum + static_cast<unsigned char>(c);
  }
  unsigned sum = 0;
};

struct Words final : Completer {
  void complete(std::string_view, std::string_view, CandidateSink& sink) override {
    for (const char* word : {"alpha", "alphabet", "beta/", "\xc3\xa4\xc3\xb6", "\xc3\xa4\xc3\xbc", ""}) sink.add(word);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  Counter out;
  Words words;
  const auto editor = std::make_unique<LineEditor>(out, &words);
  editor->set_columns(data[0]);
  editor->start(data[0] % 2 == 0 ? "$ " : "");
  for (std::size_t i = 1; i < size; ++i) {
    const LineEditor::Event event = editor->feed(static_cast<char>(data[i]));
    if (editor->cursor() > editor->line().size()) std::abort();
    if (event == LineEditor::Event::none) continue;
    Command command;
    (void)parse_command(editor->line(), &command);
    editor->start("$ ");
  }
  return 0;
}
