#include "user/apps/shell/line_editor.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace keel::shell {
namespace {

// As much of a VT100 as the editor uses, with the real one's manner of wrapping: after the last column the cursor
// stays there until the next character.
class Terminal final : public FormatSink {
 public:
  explicit Terminal(usize columns) : columns_(columns), rows_(400, std::string(columns, ' ')) {}
  void write(std::string_view text) override {
    for (const char c : text) put(c);
    all += text;
  }
  // Rows from `first` on, without trailing blanks.
  std::string screen(usize first = 0) const {
    std::string out;
    for (usize r = first; r < rows_.size(); ++r) out += rows_[r];
    out.erase(out.find_last_not_of(' ') + 1);
    return out;
  }
  std::string row_text(usize r) const { return rows_[r].substr(0, rows_[r].find_last_not_of(' ') + 1); }
  std::string all;
  usize row = 0;
  usize column = 0;
  bool pending_wrap = false;
  usize bells = 0;

 private:
  void put(char c) {
    if (state_ == 1) {
      EXPECT_EQ(c, '[');
      state_ = 2;
      number_ = 0;
      return;
    }
    if (state_ == 2) {
      if (c >= '0' && c <= '9') {
        number_ = number_ * 10 + static_cast<usize>(c - '0');
        return;
      }
      state_ = 0;
      return control(c);
    }
    switch (c) {
      case 0x1b:
        state_ = 1;
        return;
      case '\a':
        ++bells;
        return;
      case '\b':
        EXPECT_GT(column, 0u);
        EXPECT_FALSE(pending_wrap);
        column -= column > 0 ? 1 : 0;
        return;
      case '\r':
        column = 0;
        pending_wrap = false;
        return;
      case '\n':
        pending_wrap = false;
        ++row;
        return;
      default:
        EXPECT_GE(c, ' ');
        if (pending_wrap) {
          pending_wrap = false;
          column = 0;
          ++row;
        }
        rows_.at(row)[column] = c;
        if (column + 1 == columns_) {
          pending_wrap = true;
        } else {
          ++column;
        }
    }
  }
  void control(char c) {
    const usize n = number_ == 0 ? 1 : number_;
    if (c == 'A') {
      EXPECT_GE(row, n);
      row -= n;
    } else if (c == 'B') {
      row += n;
    } else if (c == 'C') {
      column += n;
      EXPECT_LT(column, columns_);
    } else if (c == 'H') {
      row = column = 0;
    } else if (c == 'J') {
      usize r = number_ == 2 ? 0 : row;
      if (number_ != 2) rows_[r].replace(column, std::string::npos, std::string(columns_ - column, ' ')), ++r;
      for (; r < rows_.size(); ++r) rows_[r].assign(columns_, ' ');
    } else {
      ADD_FAILURE() << "unexpected sequence " << c;
    }
    pending_wrap = false;
  }
  usize columns_;
  std::vector<std::string> rows_;
  int state_ = 0;
  usize number_ = 0;
};

class WordCompleter final : public Completer {
 public:
  explicit WordCompleter(std::vector<std::string> words) : words(std::move(words)) {}
  void complete(std::string_view before, std::string_view word, CandidateSink& sink) override {
    last_before = before;
    last_word = word;
    for (const std::string& w : words) sink.add(w);
  }
  std::vector<std::string> words;
  std::string last_before;
  std::string last_word;
};

class Fixture {
 public:
  explicit Fixture(usize columns = 80, std::vector<std::string> words = {})
      : terminal(columns), completer(std::move(words)), editor(std::make_unique<LineEditor>(terminal, &completer)) {
    editor->set_columns(static_cast<u32>(columns));
    editor->start("$ ");
  }
  LineEditor::Event type(std::string_view text) {
    LineEditor::Event event = LineEditor::Event::none;
    for (const char c : text) event = editor->feed(c);
    return event;
  }
  void enter(std::string_view text) {
    EXPECT_EQ(type(text), LineEditor::Event::none);
    EXPECT_EQ(type("\r"), LineEditor::Event::line);
    EXPECT_EQ(editor->line(), text);
    editor->start("$ ");
  }
  std::string line() const { return std::string(editor->line()); }
  Terminal terminal;
  WordCompleter completer;
  std::unique_ptr<LineEditor> editor;
};

constexpr const char* kUp = "\x1b[A";
constexpr const char* kDown = "\x1b[B";
constexpr const char* kRight = "\x1b[C";
constexpr const char* kLeft = "\x1b[D";

TEST(LineEditor, PlainTypingIsPlainEcho) {
  Fixture f;
  EXPECT_EQ(f.type("hello worlx\x7f"
                   "d\b"
                   "d"),
            LineEditor::Event::none);
  EXPECT_EQ(f.type("\r"), LineEditor::Event::line);
  EXPECT_EQ(f.line(), "hello world");
  EXPECT_EQ(f.terminal.all, "$ hello worlx\b \bd\b \bd\r\n");
}

TEST(LineEditor, EnterComesAsCrLfOrBoth) {
  Fixture f;
  EXPECT_EQ(f.type("a\n"), LineEditor::Event::line);
  f.editor->start("$ ");
  EXPECT_EQ(f.type("b\r"), LineEditor::Event::line);
  f.editor->start("$ ");
  EXPECT_EQ(f.type("\n"), LineEditor::Event::none);  // belongs to the CR
  EXPECT_EQ(f.type("\n"), LineEditor::Event::line);
  EXPECT_EQ(f.line(), "");
}

TEST(LineEditor, EditsInTheMiddle) {
  Fixture f;
  f.type(std::string("ello") + "\x01h" + "\x05!" + kLeft + kLeft + "\x1b[3~" + "0");
  EXPECT_EQ(f.line(), "hell0!");
  EXPECT_EQ(f.terminal.screen(), "$ hell0!");
  EXPECT_EQ(f.terminal.column, 7u);
  f.type("\x1b[H\x1b[CX\x1b[FY\x1bOHZ");
  EXPECT_EQ(f.line(), "ZhXell0!Y");
  f.type("\x01\x06\x06\x0b");
  EXPECT_EQ(f.line(), "Zh");
  f.type(" one two  ");
  f.type("\x17");
  EXPECT_EQ(f.line(), "Zh one ");
  f.type(
      "\x1b[1;5D\x1b[1;5D\x1b"
      "f#\x15");
  EXPECT_EQ(f.line(), " one ");
  EXPECT_EQ(f.editor->cursor(), 0u);
  EXPECT_EQ(f.terminal.screen(), "$  one");
  f.type("\x04\x04");
  EXPECT_EQ(f.line(), "ne ");
}

TEST(LineEditor, ControlCAndDAndL) {
  Fixture f;
  EXPECT_EQ(f.type("abc\x01\x03"), LineEditor::Event::interrupted);
  EXPECT_EQ(f.line(), "");
  EXPECT_EQ(f.terminal.row_text(0), "$ abc^C");
  f.editor->start("$ ");
  EXPECT_EQ(f.type("x\x0c"), LineEditor::Event::none);
  EXPECT_EQ(f.terminal.screen(), "$ x");
  EXPECT_EQ(f.terminal.row, 0u);
  EXPECT_EQ(f.type("\x7f\x04"), LineEditor::Event::end_of_input);
}

TEST(LineEditor, UnknownSequencesAreIgnored) {
  Fixture f;
  f.type(
      "a\x1b[15~b\x1b[?25hc\x1b[99999999999999mq\x1bQ\x1b[1;2;3;4Pd\x07\x1c\x1bO"
      "Pe\x1b\x1b[De");
  EXPECT_EQ(f.line(), "abcqdee");
}

TEST(LineEditor, HistoryGoesUpAndDownAndKeepsWhatWasTyped) {
  Fixture f;
  f.enter("one");
  f.enter("two");
  f.enter("two");
  f.enter("");
  EXPECT_EQ(f.editor->history_size(), 2u);
  f.type("draft");
  f.type(kUp);
  EXPECT_EQ(f.line(), "two");
  f.type(kUp);
  EXPECT_EQ(f.line(), "one");
  f.type(kUp);
  EXPECT_EQ(f.terminal.bells, 1u);
  f.type(std::string("!") + kDown);
  EXPECT_EQ(f.line(), "two");
  f.type(kDown);
  EXPECT_EQ(f.line(), "draft");
  f.type(kDown);
  EXPECT_EQ(f.terminal.bells, 2u);
  f.type("\x10\x10");
  EXPECT_EQ(f.line(), "one");  // the change to it was not kept
  for (int i = 0; i < 250; ++i) f.editor->add_history("line " + std::to_string(i));
  EXPECT_EQ(f.editor->history_size(), kHistoryLines);
  EXPECT_EQ(f.editor->history(0), "line 150");
  EXPECT_EQ(f.editor->history(99), "line 249");
  EXPECT_EQ(f.editor->history(100), "");
}

TEST(LineEditor, CompletesAndLists) {
  Fixture f(40, {"cat", "catalogue", "catapult", "dog", "dir/"});
  f.type("run d");
  f.type("o\t");
  EXPECT_EQ(f.line(), "run dog ");
  EXPECT_EQ(f.completer.last_before, "run ");
  EXPECT_EQ(f.completer.last_word, "do");
  f.type("di\t");
  EXPECT_EQ(f.line(), "run dog dir/");
  f.type(" c\t");
  EXPECT_EQ(f.line(), "run dog dir/ cat");
  EXPECT_EQ(f.terminal.bells, 0u);
  f.type("\t");
  EXPECT_EQ(f.line(), "run dog dir/ cat");
  EXPECT_EQ(f.terminal.row_text(1), "cat        catalogue  catapult");
  EXPECT_EQ(f.terminal.row_text(2), "$ run dog dir/ cat");
  EXPECT_EQ(f.terminal.row, 2u);
  EXPECT_EQ(f.terminal.column, 18u);
  f.type("x\t");
  EXPECT_EQ(f.terminal.bells, 1u);
  f.type(
      "\x15"
      "catal and\x01"
      "\x06\x06\x06\x06\x06\t");  // in the middle: no second blank
  EXPECT_EQ(f.line(), "catalogue and");
}

TEST(LineEditor, ManyCandidatesAreCutOff) {
  std::vector<std::string> words;
  for (int i = 0; i < 300; ++i) words.push_back("w" + std::to_string(i));
  Fixture f(80, words);
  f.type("w\t\t");
  EXPECT_NE(f.terminal.all.find("... and 100 more\r\n"), std::string::npos);
  EXPECT_EQ(f.line(), "w");
}

TEST(LineEditor, LineIsBounded) {
  Fixture f;
  f.type(std::string(kMaxLineBytes, 'x'));
  EXPECT_EQ(f.terminal.bells, 0u);
  f.type("yy");
  EXPECT_EQ(f.terminal.bells, 2u);
  EXPECT_EQ(f.line(), std::string(kMaxLineBytes, 'x'));
}

struct Collector final : FormatSink {
  void write(std::string_view text) override { all += text; }
  std::string all;
};

TEST(LineEditor, CharactersOfSeveralBytesStayWhole) {
  Collector out;
  auto editor = std::make_unique<LineEditor>(out);
  editor->start("");
  const auto type = [&](std::string_view text) {
    for (const char c : text) (void)editor->feed(c);
  };
  type("a\xc3\xa4\xe2\x82\xac");
  EXPECT_EQ(editor->line(), "a\xc3\xa4\xe2\x82\xac");
  type("\x7f");
  EXPECT_EQ(editor->line(), "a\xc3\xa4");
  type("\x1b[D");
  EXPECT_EQ(editor->cursor(), 1u);
  type("\x1b[3~");
  EXPECT_EQ(editor->line(), "a");
  type("\x84\xff\xc3z");  // no characters
  EXPECT_EQ(editor->line(), "az");
}

// The screen always shows prompt and line, wrapped, and the cursor in its place. KEEL_SEED=n repeats a run.
TEST(LineEditor, RandomKeysKeepTheScreenRight) {
  const char* wanted = std::getenv("KEEL_SEED");
  const u64 seed = wanted != nullptr ? std::strtoull(wanted, nullptr, 0) : std::random_device{}();
  std::printf("KEEL_SEED=%llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 random(seed);
  const std::vector<std::string> keys = {kUp,      kDown,    kLeft,         kLeft,       kLeft,       kRight,   kRight,
                                         "\x1b[H", "\x1b[F", "\x1b[3~",     "\x01",      "\x05",      "\x0b",   "\x15",
                                         "\x17",   "\x7f",   "\b",          "\x1b[1;5C", "\x1b[1;5D", "\t",     "alpha",
                                         " ",      "b",      "gamma gamma", "x",         "yy",        "zzzzzzz"};
  for (const usize columns : {2u, 3u, 7u, 10u, 80u}) {
    for (int round = 0; round < 30; ++round) {
      SCOPED_TRACE(testing::Message() << "KEEL_SEED=" << seed << " columns " << columns << " round " << round);
      Fixture f(columns, {"alphabet", "gammaray"});
      for (int i = 0; i < 5; ++i) f.editor->add_history(std::string(random() % 30, 'h') + std::to_string(i));
      std::string trail;
      for (int step = 0; step < 120; ++step) {
        const std::string& key = keys[random() % keys.size()];
        if (key == "\t" && trail.ends_with('\t')) continue;  // would list candidates below
        trail += key;
        f.type(key);
        const std::string expected = "$ " + f.line();
        std::string trimmed = expected.substr(0, expected.find_last_not_of(' ') + 1);
        ASSERT_EQ(f.terminal.screen(), trimmed) << trail;
        ASSERT_EQ(f.terminal.row, (2 + f.editor->cursor()) / columns) << trail;
        ASSERT_EQ(f.terminal.column, (2 + f.editor->cursor()) % columns) << trail;
        ASSERT_FALSE(f.terminal.pending_wrap);
        if (f.line().size() > 300) f.type("\x05\x15");
      }
    }
  }
}

}  // namespace
}  // namespace keel::shell
