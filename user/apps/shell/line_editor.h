// LineEditor: edits one line on a terminal. Pure: bytes in, bytes out through a sink, no waiting and no clock.
//
// Keys         arrows, Home, End, Delete, Ctrl with left/right (by word); Ctrl-A/E/B/F/P/N, Ctrl-K (delete to the end),
//              Ctrl-U (to the start), Ctrl-W (word before), Ctrl-L (clear screen), Ctrl-C, Ctrl-D; Backspace as 0x7f or
//              0x08; Tab completes. Enter is CR, LF or CR LF. Other control bytes and unknown sequences are ignored.
// Output       Typing and deleting at the end of a line uses no escape sequence, so a dumb terminal shows it rightly;
//              everything else uses VT100 sequences. Lines longer than the terminal is wide wrap. Line ends are CR LF.
// Text         UTF-8 with one column per character; incomplete characters are dropped.
// Bounds       kMaxLineBytes per line (then the bell), kHistoryLines remembered. No allocation; about 100 KiB.
// See          ECMA-48, 8.3 (control functions); line_editor_test.cc
#pragma once

#include <array>
#include <string_view>

#include "base/format.h"
#include "base/types.h"

namespace keel::shell {

inline constexpr usize kMaxLineBytes = 1000;
inline constexpr usize kHistoryLines = 100;
inline constexpr u32 kDefaultColumns = 80;
inline constexpr usize kMaxListedCandidates = 200;

class CandidateSink {
 public:
  // A whole word to take the place of the one being completed; ignored unless it begins with that.
  virtual void add(std::string_view candidate) = 0;

 protected:
  ~CandidateSink() = default;
};

class Completer {
 public:
  // Offers what `word`, the text from the last blank to the cursor, may become; `before` is what precedes it. Called
  // once or twice for a Tab and must offer the same both times. A candidate that ends in '/' gets no blank behind it.
  virtual void complete(std::string_view before, std::string_view word, CandidateSink& candidates) = 0;

 protected:
  ~Completer() = default;
};

class LineEditor {
 public:
  enum class Event : u8 {
    none,          // go on feeding
    line,          // Enter: line() holds the text; call start() for the next one
    interrupted,   // Ctrl-C: the line was dropped; call start()
    end_of_input,  // Ctrl-D on an empty line
  };

  explicit LineEditor(FormatSink& out, Completer* completer = nullptr) : out_(out), completer_(completer) {}
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  // Columns of the terminal, at least 2. Not while a line is being edited.
  void set_columns(u32 columns) { columns_ = columns < 2 ? 2 : columns; }

  // Prints the prompt and begins an empty line. The cursor stands in column 0. `prompt` must live until the line ends.
  void start(std::string_view prompt);
  Event feed(char byte);
  // Shows prompt and line again. The cursor stands in column 0: others have written lines.
  void show_again() { redraw_all(); }
  std::string_view line() const { return {text_.data(), size_}; }
  // Byte index into line().
  usize cursor() const { return cursor_; }

  // Lines are added by Enter; also from a file by the shell. Empty ones and repetitions of the last are not kept.
  void add_history(std::string_view line);
  usize history_size() const { return history_count_; }
  // 0 is the oldest.
  std::string_view history(usize index) const;

 private:
  struct StoredLine {
    std::array<char, kMaxLineBytes> bytes;
    u16 size = 0;
  };
  enum class InputState : u8 { plain, escape, csi, ss3 };
  class CommonPrefix;
  class Lister;

  Event feed_plain(char byte);
  void feed_text(char byte);
  void feed_escape(char byte);
  void feed_csi(char byte);
  Event enter();

  // Character borders around `index`.
  usize before(usize index) const;
  usize after(usize index) const;
  usize word_before(usize index) const;
  usize word_after(usize index) const;

  void insert(std::string_view bytes);
  void erase(usize begin, usize end);
  void replace_line(std::string_view line);
  void show_history(bool older);
  void complete();

  // Terminal. `shown_` is the index the terminal's cursor stands at; `cursor_` where it belongs.
  usize column_of(usize index) const;  // as if the terminal had no right border, prompt included
  void write_prompt();
  void bell() { out_.write("\a"); }
  void write_line_part(usize begin, usize end);
  void move_shown(usize index);
  void redraw_from(usize index, bool clear);
  void redraw_all();

  FormatSink& out_;
  Completer* completer_;
  u32 columns_ = kDefaultColumns;
  std::string_view prompt_;
  std::array<char, kMaxLineBytes> text_{};
  usize size_ = 0;
  usize cursor_ = 0;
  usize shown_ = 0;

  InputState input_ = InputState::plain;
  std::array<char, 4> character_{};  // a character of several bytes that is still coming in
  usize character_size_ = 0;
  usize character_needs_ = 0;
  u32 parameters_[2] = {0, 0};
  u32 parameter_count_ = 0;
  bool after_carriage_return_ = false;
  bool after_tab_ = false;

  std::array<StoredLine, kHistoryLines> history_{};
  usize history_first_ = 0;  // slot of the oldest
  usize history_count_ = 0;
  usize history_at_ = 0;  // == history_count_: the line being typed
  StoredLine typed_;      // that line while history is shown
};

}  // namespace keel::shell
