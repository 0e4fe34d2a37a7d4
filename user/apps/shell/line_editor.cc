#include "user/apps/shell/line_editor.h"

#include <cstring>

namespace keel::shell {
namespace {

constexpr char control(char letter) { return static_cast<char>(letter & 0x1f); }
constexpr char kEscape = 0x1b;
constexpr char kDelete = 0x7f;
constexpr u32 kMaxParameter = 9999;
constexpr u32 kControlModifier = 5;

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

usize columns_in(std::string_view text) {
  usize n = 0;
  for (const char c : text) n += is_continuation(c) ? 0 : 1;
  return n;
}

}  // namespace

// What all candidates have in common, and how many and how wide they are.
class LineEditor::CommonPrefix final : public CandidateSink {
 public:
  explicit CommonPrefix(std::string_view word) : word_(word) {}
  void add(std::string_view candidate) override {
    if (!candidate.starts_with(word_) || candidate.size() > bytes_.size()) return;
    if (count++ == 0) {
      std::memcpy(bytes_.data(), candidate.data(), candidate.size());
      size_ = candidate.size();
    }
    usize same = 0;
    while (same < size_ && same < candidate.size() && bytes_[same] == candidate[same]) ++same;
    while (same > 0 && same < size_ && is_continuation(bytes_[same])) --same;  // whole characters
    size_ = same;
    const usize width = columns_in(candidate);
    if (width > widest) widest = width;
  }
  std::string_view common() const { return {bytes_.data(), size_}; }

  usize count = 0;
  usize widest = 0;

 private:
  std::string_view word_;
  std::array<char, kMaxLineBytes> bytes_;
  usize size_ = 0;
};

// Writes candidates in columns.
class LineEditor::Lister final : public CandidateSink {
 public:
  Lister(FormatSink& out, std::string_view word, usize widest, usize columns)
      : out_(out), word_(word), cell_(widest + 2), per_row_(columns / cell_ == 0 ? 1 : columns / cell_) {}
  void add(std::string_view candidate) override {
    if (!candidate.starts_with(word_) || ++count_ > kMaxListedCandidates) return;
    out_.write(candidate);
    if (count_ % per_row_ == 0) {
      out_.write("\r\n");
      return;
    }
    for (usize i = columns_in(candidate); i < cell_; ++i) out_.write(" ");
  }
  void finish() {
    if (count_ % per_row_ != 0 || count_ > kMaxListedCandidates) out_.write("\r\n");
    if (count_ > kMaxListedCandidates) format(out_, "... and {} more\r\n", count_ - kMaxListedCandidates);
  }

 private:
  FormatSink& out_;
  std::string_view word_;
  usize cell_;
  usize per_row_;
  usize count_ = 0;
};

void LineEditor::start(std::string_view prompt) {
  prompt_ = prompt;
  size_ = cursor_ = shown_ = 0;
  history_at_ = history_count_;
  after_tab_ = false;
  input_ = InputState::plain;
  character_size_ = 0;
  write_prompt();
}

LineEditor::Event LineEditor::feed(char byte) {
  const bool second_half_of_enter = after_carriage_return_ && byte == '\n';
  after_carriage_return_ = false;
  if (second_half_of_enter) return Event::none;
  switch (input_) {
    case InputState::plain: {
      const bool tab = byte == '\t';
      const Event event = feed_plain(byte);
      if (!tab) after_tab_ = false;
      return event;
    }
    case InputState::escape:
      feed_escape(byte);
      return Event::none;
    case InputState::csi:
      feed_csi(byte);
      return Event::none;
    case InputState::ss3:  // ESC O A is ESC [ A in another mode of the terminal
      parameter_count_ = 0;
      parameters_[0] = parameters_[1] = 0;
      feed_csi(byte);
      input_ = InputState::plain;
      return Event::none;
  }
  return Event::none;
}

LineEditor::Event LineEditor::feed_plain(char byte) {
  switch (byte) {
    case '\r':
      after_carriage_return_ = true;
      return enter();
    case '\n':
      return enter();
    case '\t':
      complete();
      return Event::none;
    case kEscape:
      input_ = InputState::escape;
      return Event::none;
    case kDelete:
    case control('H'):
      erase(before(cursor_), cursor_);
      return Event::none;
    case control('A'):
      move_shown(cursor_ = 0);
      return Event::none;
    case control('E'):
      move_shown(cursor_ = size_);
      return Event::none;
    case control('B'):
      move_shown(cursor_ = before(cursor_));
      return Event::none;
    case control('F'):
      move_shown(cursor_ = after(cursor_));
      return Event::none;
    case control('K'):
      erase(cursor_, size_);
      return Event::none;
    case control('U'):
      erase(0, cursor_);
      return Event::none;
    case control('W'):
      erase(word_before(cursor_), cursor_);
      return Event::none;
    case control('P'):
      show_history(true);
      return Event::none;
    case control('N'):
      show_history(false);
      return Event::none;
    case control('L'):
      out_.write("\x1b[H\x1b[2J");
      redraw_all();
      return Event::none;
    case control('C'):
      move_shown(size_);
      out_.write("^C\r\n");
      size_ = cursor_ = shown_ = 0;
      return Event::interrupted;
    case control('D'):
      if (size_ == 0) {
        out_.write("\r\n");
        return Event::end_of_input;
      }
      erase(cursor_, after(cursor_));
      return Event::none;
    default:
      if (static_cast<unsigned char>(byte) >= 0x20) feed_text(byte);
      return Event::none;
  }
}

// Inserts characters as a whole, so that the terminal never sees something else between their bytes.
void LineEditor::feed_text(char byte) {
  const unsigned char b = static_cast<unsigned char>(byte);
  if (is_continuation(byte)) {
    if (character_size_ == 0) return;
  } else {
    character_size_ = 0;
    if (b < 0x80) return insert({&byte, 1});
    if (b < 0xc2 || b > 0xf4) return;  // begins no character
    character_needs_ = b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
  }
  character_[character_size_++] = byte;
  if (character_size_ < character_needs_) return;
  insert({character_.data(), character_size_});
  character_size_ = 0;
}

void LineEditor::feed_escape(char byte) {
  input_ = InputState::plain;
  if (byte == '[' || byte == 'O') {
    input_ = byte == '[' ? InputState::csi : InputState::ss3;
    parameter_count_ = 0;
    parameters_[0] = parameters_[1] = 0;
  } else if (byte == 'b') {
    move_shown(cursor_ = word_before(cursor_));
  } else if (byte == 'f') {
    move_shown(cursor_ = word_after(cursor_));
  } else if (byte == kEscape) {
    input_ = InputState::escape;
  }
}

// ESC [ parameters final: digits and ';' are collected, other intermediate bytes are passed over.
void LineEditor::feed_csi(char byte) {
  if (byte >= '0' && byte <= '9') {
    u32& p = parameters_[parameter_count_ < 1 ? 0 : 1];
    p = p * 10 + static_cast<u32>(byte - '0');
    if (p > kMaxParameter) p = kMaxParameter;
    return;
  }
  if (byte == ';') {
    ++parameter_count_;
    return;
  }
  if (byte < 0x40) {
    if (byte < 0x20) input_ = byte == kEscape ? InputState::escape : InputState::plain;
    return;
  }
  input_ = InputState::plain;
  const bool by_word = parameters_[1] == kControlModifier;
  switch (byte) {
    case 'A':
      return show_history(true);
    case 'B':
      return show_history(false);
    case 'C':
      return move_shown(cursor_ = by_word ? word_after(cursor_) : after(cursor_));
    case 'D':
      return move_shown(cursor_ = by_word ? word_before(cursor_) : before(cursor_));
    case 'H':
      return move_shown(cursor_ = 0);
    case 'F':
      return move_shown(cursor_ = size_);
    case '~':
      if (parameters_[0] == 1 || parameters_[0] == 7) return move_shown(cursor_ = 0);
      if (parameters_[0] == 4 || parameters_[0] == 8) return move_shown(cursor_ = size_);
      if (parameters_[0] == 3) return erase(cursor_, after(cursor_));
      return;
    default:
      return;
  }
}

LineEditor::Event LineEditor::enter() {
  move_shown(size_);
  out_.write("\r\n");
  add_history(line());
  return Event::line;
}

usize LineEditor::before(usize index) const {
  if (index > 0) --index;
  while (index > 0 && is_continuation(text_[index])) --index;
  return index;
}
usize LineEditor::after(usize index) const {
  if (index < size_) ++index;
  while (index < size_ && is_continuation(text_[index])) ++index;
  return index;
}
usize LineEditor::word_before(usize index) const {
  while (index > 0 && text_[index - 1] == ' ') --index;
  while (index > 0 && text_[index - 1] != ' ') --index;
  return index;
}
usize LineEditor::word_after(usize index) const {
  while (index < size_ && text_[index] == ' ') ++index;
  while (index < size_ && text_[index] != ' ') ++index;
  return index;
}

void LineEditor::insert(std::string_view bytes) {
  if (bytes.size() > kMaxLineBytes - size_) return bell();
  std::memmove(text_.data() + cursor_ + bytes.size(), text_.data() + cursor_, size_ - cursor_);
  std::memcpy(text_.data() + cursor_, bytes.data(), bytes.size());
  size_ += bytes.size();
  const usize at = cursor_;
  cursor_ += bytes.size();
  redraw_from(at, false);
}

void LineEditor::erase(usize begin, usize end) {
  if (begin == end) return;
  // One character off the end, not across rows: no escape sequence needed.
  const bool plain = end == size_ && shown_ == size_ && begin == before(end) && column_of(end) % columns_ != 0;
  if (!plain) move_shown(begin);
  std::memmove(text_.data() + begin, text_.data() + end, size_ - end);
  size_ -= end - begin;
  cursor_ = begin;
  if (plain) {
    out_.write("\b \b");
    shown_ = begin;
  } else {
    redraw_from(begin, true);
  }
}

void LineEditor::replace_line(std::string_view line) {
  move_shown(0);
  std::memcpy(text_.data(), line.data(), line.size());
  size_ = cursor_ = line.size();
  redraw_from(0, true);
}

void LineEditor::show_history(bool older) {
  if (older ? history_at_ == 0 : history_at_ == history_count_) return bell();
  if (history_at_ == history_count_) {
    std::memcpy(typed_.bytes.data(), text_.data(), size_);
    typed_.size = static_cast<u16>(size_);
  }
  history_at_ += older ? usize{0} - 1 : 1;
  replace_line(history_at_ == history_count_ ? std::string_view(typed_.bytes.data(), typed_.size)
                                             : history(history_at_));
}

void LineEditor::complete() {
  if (completer_ == nullptr) return bell();
  usize begin = cursor_;
  while (begin > 0 && text_[begin - 1] != ' ') --begin;
  const std::string_view before_word(text_.data(), begin);
  const std::string_view word(text_.data() + begin, cursor_ - begin);
  CommonPrefix common(word);
  completer_->complete(before_word, word, common);
  if (common.count == 0) return bell();

  const bool second_tab = after_tab_;
  after_tab_ = true;
  const std::string_view rest = common.common().substr(word.size());
  if (common.count == 1) {
    after_tab_ = false;
    const bool blank = !common.common().ends_with('/') && (cursor_ == size_ || text_[cursor_] != ' ');
    insert(rest);
    if (blank) insert(" ");
    return;
  }
  if (!rest.empty()) return insert(rest);
  if (!second_tab) return bell();
  move_shown(size_);
  out_.write("\r\n");
  Lister lister(out_, word, common.widest, columns_);
  completer_->complete(before_word, word, lister);
  lister.finish();
  redraw_all();
}

usize LineEditor::column_of(usize index) const { return columns_in(prompt_) + columns_in({text_.data(), index}); }

void LineEditor::write_prompt() {
  out_.write(prompt_);
  const usize columns = columns_in(prompt_);
  if (columns > 0 && columns % columns_ == 0) out_.write(" \r");  // as in write_line_part()
}

// Writes text_[begin, end), the terminal's cursor being at `begin`.
void LineEditor::write_line_part(usize begin, usize end) {
  if (begin == end) return;
  out_.write({text_.data() + begin, end - begin});
  if (column_of(end) % columns_ == 0) {
    // A terminal stays in the last column until it gets one more character: give it that one, then go back to its
    // column. What stands there already is written again.
    const usize next = after(end);
    out_.write(next > end ? std::string_view(text_.data() + end, next - end) : std::string_view(" "));
    out_.write("\r");
  }
  shown_ = end;
}

void LineEditor::move_shown(usize index) {
  const usize from = column_of(shown_);
  const usize to = column_of(index);
  if (from / columns_ == to / columns_) {
    if (to < from) {
      for (usize i = to; i < from; ++i) out_.write("\b");
    } else {
      write_line_part(shown_, index);
    }
  } else {
    if (to < from) {
      format(out_, "\x1b[{}A", from / columns_ - to / columns_);
    } else {
      format(out_, "\x1b[{}B", to / columns_ - from / columns_);
    }
    out_.write("\r");
    if (to % columns_ != 0) format(out_, "\x1b[{}C", to % columns_);
  }
  shown_ = index;
}

// Shows the line from `index` on, where the terminal's cursor stands. `clear`: more was there before.
void LineEditor::redraw_from(usize index, bool clear) {
  shown_ = index;
  write_line_part(index, size_);
  if (clear) out_.write("\x1b[J");
  move_shown(cursor_);
}

void LineEditor::redraw_all() {
  write_prompt();
  redraw_from(0, true);
}

void LineEditor::add_history(std::string_view line) {
  if (line.empty() || line.size() > kMaxLineBytes) return;
  if (history_count_ > 0 && history(history_count_ - 1) == line) return;
  if (history_count_ == kHistoryLines) {
    history_first_ = (history_first_ + 1) % kHistoryLines;
    --history_count_;
  }
  StoredLine& slot = history_[(history_first_ + history_count_++) % kHistoryLines];
  std::memcpy(slot.bytes.data(), line.data(), line.size());
  slot.size = static_cast<u16>(line.size());
}

std::string_view LineEditor::history(usize index) const {
  if (index >= history_count_) return {};
  const StoredLine& slot = history_[(history_first_ + index) % kHistoryLines];
  return {slot.bytes.data(), slot.size};
}

}  // namespace keel::shell
