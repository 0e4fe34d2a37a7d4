#include "base/format.h"

#include <string.h>

namespace keel {

void SpanSink::write(std::string_view text) {
  const usize room = out_.size() - used_;
  if (text.size() > room) truncated_ = true;
  const usize n = text.size() < room ? text.size() : room;
  memcpy(out_.data() + used_, text.data(), n);
  used_ += n;
}

namespace format_detail {
namespace {

// Sign, "0b" and 64 binary digits.
constexpr usize kNumberBytes = 1 + 2 + 64;

void write_repeated(FormatSink& sink, char c, usize count) {
  std::array<char, 16> chunk;
  chunk.fill(c);
  for (; count > 0; count -= count < chunk.size() ? count : chunk.size()) {
    sink.write({chunk.data(), count < chunk.size() ? count : chunk.size()});
  }
}

void write_padded(FormatSink& sink, std::string_view text, const Spec& spec, char default_align) {
  const usize padding = text.size() < spec.width ? spec.width - text.size() : 0;
  const bool left = (spec.align != 0 ? spec.align : default_align) == '<';
  if (!left) write_repeated(sink, spec.fill, padding);
  sink.write(text);
  if (left) write_repeated(sink, spec.fill, padding);
}

void write_number(FormatSink& sink, u64 magnitude, bool negative, const Spec& spec) {
  const char type = spec.type == 0 || spec.type == 'c' ? 'd' : spec.type;
  const u64 base = type == 'd' ? 10 : type == 'b' ? 2 : 16;
  const char* digits = type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
  std::array<char, kNumberBytes> buffer;
  usize begin = buffer.size();
  do {
    buffer[--begin] = digits[magnitude % base];
    magnitude /= base;
  } while (magnitude != 0);

  std::array<char, 3> head{};
  usize head_size = 0;
  if (negative) head[head_size++] = '-';
  if (spec.prefix) {
    head[head_size++] = '0';
    head[head_size++] = type == 'b' ? 'b' : 'x';
  }
  if (spec.zeros && spec.align == 0) {
    const usize length = head_size + (buffer.size() - begin);
    sink.write({head.data(), head_size});
    write_repeated(sink, '0', length < spec.width ? spec.width - length : 0);
    sink.write({buffer.data() + begin, buffer.size() - begin});
    return;
  }
  for (usize i = head_size; i > 0; --i) buffer[--begin] = head[i - 1];
  write_padded(sink, {buffer.data() + begin, buffer.size() - begin}, spec, '>');
}

void write_arg(FormatSink& sink, const Arg& arg, Spec spec) {
  const bool as_number = spec.type != 0 && spec.type != 's' && spec.type != 'c';
  switch (arg.kind) {
    case Kind::signed_integer: {
      const bool negative = static_cast<i64>(arg.number) < 0;
      return write_number(sink, negative ? u64{0} - arg.number : arg.number, negative, spec);
    }
    case Kind::unsigned_integer:
      return write_number(sink, arg.number, false, spec);
    case Kind::boolean:
      if (as_number) return write_number(sink, arg.number, false, spec);
      return write_padded(sink, arg.number != 0 ? "true" : "false", spec, '<');
    case Kind::character: {
      if (as_number) return write_number(sink, arg.number, false, spec);
      const char c = static_cast<char>(arg.number);
      return write_padded(sink, {&c, 1}, spec, '<');
    }
    case Kind::text:
      return write_padded(sink, arg.text, spec, '<');
    case Kind::pointer:
      spec.prefix = true;
      spec.type = 'x';
      return write_number(sink, arg.number, false, spec);
    case Kind::status:
      return write_padded(sink, status_name(static_cast<Status>(arg.number)), spec, '<');
  }
}

}  // namespace

void vformat(FormatSink& sink, std::string_view s, std::span<const Arg> args) {
  usize used = 0;
  usize plain = 0;  // start of text not yet written
  for (usize i = 0; i < s.size(); ++i) {
    if (s[i] != '{' && s[i] != '}') continue;
    sink.write(s.substr(plain, i - plain));
    if (i + 1 < s.size() && s[i + 1] == s[i]) {  // a doubled brace: keep the second
      plain = ++i;
      continue;
    }
    const usize end = s.find('}', i);
    const std::string_view field = end == std::string_view::npos ? "?" : s.substr(i + 1, end > i ? end - i - 1 : 0);
    const Spec spec = field.empty() ? Spec{.valid = true} : parse_spec(field.substr(1));
    if (s[i] == '}' || end == std::string_view::npos || used == args.size() || !spec_fits(spec, args[used].kind)) {
      sink.write("{?}");
    } else {
      write_arg(sink, args[used], spec);
    }
    ++used;
    if (end == std::string_view::npos) return;
    i = end;
    plain = end + 1;
  }
  if (plain < s.size()) sink.write(s.substr(plain));
}

}  // namespace format_detail
}  // namespace keel
