// format: a small type-safe text formatter for the kernel and user space. No allocation, no locale, no <format>.
//
//   format_to(buffer, "{} {:>8} {:08x} {:<10}|", args...)   into a span; cut off at its end, never overflows
//   format(sink, "...", args...)                            into anything with `void write(std::string_view)`
//
// Replacement field: '{' [ ':' [[fill] align] ['#'] ['0'] [width] [type] ] '}';  "{{" and "}}" stand for braces.
//   align  '<' left (default for text), '>' right (default for numbers);  fill: any character but braces
//   '#'    "0x" or "0b" before a number of type x, X or b
//   '0'    zeros after sign and prefix up to `width`; numbers only, ignored beside an explicit align
//   width  least number of bytes, 0..255
//   type   d x X b for integers, char and bool;  c for char;  s for text, bool and Status
// Arguments: integers, bool, char, const char* (null prints "(null)"), std::string_view, pointers ("0x..."), Status
// (its name, "BadCapability"), Strong<> (its value). The string is checked against the arguments at compile time.
//
// Costs        O(length of the output). Stack: under 400 bytes.
#pragma once

#include <array>
#include <span>
#include <string_view>
#include <type_traits>

#include "abi/status.h"
#include "base/types.h"

namespace keel {

// Where formatted text goes, piece by piece.
class FormatSink {
 public:
  virtual void write(std::string_view text) = 0;

 protected:
  ~FormatSink() = default;
};

// A sink over a span: keeps what fits, drops the rest.
class SpanSink final : public FormatSink {
 public:
  explicit SpanSink(std::span<char> out) : out_(out) {}
  void write(std::string_view text) override;
  std::string_view text() const { return {out_.data(), used_}; }
  bool truncated() const { return truncated_; }

 private:
  std::span<char> out_;
  usize used_ = 0;
  bool truncated_ = false;
};

namespace format_detail {

enum class Kind : u8 { signed_integer, unsigned_integer, boolean, character, text, pointer, status };

struct Arg {
  Kind kind = Kind::unsigned_integer;
  u64 number = 0;         // signed numbers as two's complement
  std::string_view text;  // Kind::text
};

template <class T>
struct IsStrong : std::false_type {};
template <class Tag, class Rep>
struct IsStrong<Strong<Tag, Rep>> : std::true_type {};

template <class T>
concept Text = std::is_convertible_v<const T&, std::string_view>;

template <class T>
consteval Kind kind_of() {
  using U = std::remove_cvref_t<T>;
  if constexpr (std::is_same_v<U, bool>) {
    return Kind::boolean;
  } else if constexpr (std::is_same_v<U, char>) {
    return Kind::character;
  } else if constexpr (std::is_same_v<U, Status>) {
    return Kind::status;
  } else if constexpr (IsStrong<U>::value) {
    return kind_of<decltype(U::value)>();
  } else if constexpr (Text<U>) {
    return Kind::text;
  } else if constexpr (std::is_integral_v<U>) {
    return std::is_signed_v<U> ? Kind::signed_integer : Kind::unsigned_integer;
  } else {
    static_assert(std::is_pointer_v<U> || std::is_null_pointer_v<U>, "this type cannot be formatted");
    return Kind::pointer;
  }
}

template <class T>
Arg make_arg(const T& value) {
  constexpr Kind kind = kind_of<T>();
  if constexpr (IsStrong<T>::value) {
    return make_arg(value.value);
  } else if constexpr (kind == Kind::text) {
    if constexpr (std::is_pointer_v<T>) {
      return {kind, 0, value == nullptr ? std::string_view("(null)") : std::string_view(value)};
    } else {
      return {kind, 0, std::string_view(value)};
    }
  } else if constexpr (kind == Kind::pointer) {
    if constexpr (std::is_null_pointer_v<T>) {
      return {kind, 0, {}};
    } else {
      return {kind, reinterpret_cast<u64>(value), {}};
    }
  } else if constexpr (kind == Kind::signed_integer) {
    return {kind, static_cast<u64>(static_cast<i64>(value)), {}};
  } else if constexpr (kind == Kind::character) {
    return {kind, static_cast<unsigned char>(value), {}};
  } else {
    return {kind, static_cast<u64>(value), {}};
  }
}

struct Spec {
  char fill = ' ';
  char align = 0;  // '<', '>' or 0: the default of the argument's kind
  bool prefix = false;
  bool zeros = false;
  u8 width = 0;
  char type = 0;
  bool valid = false;
};

// Parses what stands between ':' and '}'.
constexpr Spec parse_spec(std::string_view s) {
  Spec spec;
  usize i = 0;
  const auto is_align = [](char c) { return c == '<' || c == '>'; };
  if (s.size() >= 2 && is_align(s[1]) && s[0] != '{') {
    spec.fill = s[0];
    spec.align = s[1];
    i = 2;
  } else if (!s.empty() && is_align(s[0])) {
    spec.align = s[0];
    i = 1;
  }
  if (i < s.size() && s[i] == '#') {
    spec.prefix = true;
    ++i;
  }
  if (i < s.size() && s[i] == '0') {
    spec.zeros = true;
    ++i;
  }
  u32 width = 0;
  for (; i < s.size() && s[i] >= '0' && s[i] <= '9'; ++i) {
    width = width * 10 + static_cast<u32>(s[i] - '0');
    if (width > 255) return spec;
  }
  spec.width = static_cast<u8>(width);
  if (i < s.size()) spec.type = s[i++];
  spec.valid = i == s.size();
  return spec;
}

constexpr bool spec_fits(const Spec& spec, Kind kind) {
  const bool numeric_type = spec.type == 'd' || spec.type == 'x' || spec.type == 'X' || spec.type == 'b';
  const bool number = kind == Kind::signed_integer || kind == Kind::unsigned_integer;
  if (!spec.valid) return false;
  if (spec.prefix && (spec.type == 0 || spec.type == 'd' || !numeric_type)) return false;
  if (spec.zeros && !(number || kind == Kind::pointer || numeric_type)) return false;
  switch (kind) {
    case Kind::signed_integer:
    case Kind::unsigned_integer:
      return spec.type == 0 || numeric_type;
    case Kind::boolean:
      return spec.type == 0 || spec.type == 's' || numeric_type;
    case Kind::character:
      return spec.type == 0 || spec.type == 'c' || numeric_type;
    case Kind::text:
    case Kind::status:
      return spec.type == 0 || spec.type == 's';
    case Kind::pointer:
      return spec.type == 0;
  }
  return false;
}

// Not constexpr on purpose: reaching a call while checking a format string makes it a compile error.
void bad_format_string(const char* why);

consteval void check(std::string_view s, std::span<const Kind> kinds) {
  usize used = 0;
  for (usize i = 0; i < s.size(); ++i) {
    if (s[i] == '}') {
      if (i + 1 >= s.size() || s[i + 1] != '}') bad_format_string("a single '}'");
      ++i;
    } else if (s[i] == '{') {
      if (i + 1 < s.size() && s[i + 1] == '{') {
        ++i;
        continue;
      }
      const usize end = s.find('}', i);
      if (end == std::string_view::npos) bad_format_string("no '}' for this '{'");
      if (used == kinds.size()) bad_format_string("more fields than arguments");
      std::string_view field = s.substr(i + 1, end - i - 1);
      if (!field.empty()) {
        if (field[0] != ':') bad_format_string("a field is empty or begins with ':'");
        if (!spec_fits(parse_spec(field.substr(1)), kinds[used])) bad_format_string("not a format for this argument");
      }
      ++used;
      i = end;
    }
  }
  if (used != kinds.size()) bad_format_string("more arguments than fields");
}

// Memory-safe for any string; wrong fields print as "{?}".
void vformat(FormatSink& sink, std::string_view format, std::span<const Arg> args);

template <class... Args>
class FormatString {
 public:
  template <class S>
    requires std::is_convertible_v<const S&, std::string_view>
  consteval FormatString(const S& s) : text_(s) {  // NOLINT(google-explicit-constructor)
    constexpr std::array<Kind, sizeof...(Args)> kinds{kind_of<Args>()...};
    check(text_, std::span<const Kind>(kinds.data(), kinds.size()));
  }
  constexpr std::string_view text() const { return text_; }

 private:
  std::string_view text_;
};

template <class Sink>
class SinkAdapter final : public FormatSink {
 public:
  explicit SinkAdapter(Sink& sink) : sink_(sink) {}
  void write(std::string_view text) override { sink_.write(text); }

 private:
  Sink& sink_;
};

}  // namespace format_detail

template <class Sink, class... Args>
  requires requires(Sink& s) { s.write(std::string_view()); }
void format(Sink& sink, format_detail::FormatString<std::type_identity_t<Args>...> string, const Args&... args) {
  const std::array<format_detail::Arg, sizeof...(Args)> list{
      format_detail::make_arg<std::decay_t<const Args>>(args)...};
  const std::span<const format_detail::Arg> view(list.data(), list.size());
  if constexpr (std::is_base_of_v<FormatSink, Sink>) {
    format_detail::vformat(sink, string.text(), view);
  } else {
    format_detail::SinkAdapter<Sink> adapter(sink);
    format_detail::vformat(adapter, string.text(), view);
  }
}

// Returns the part of `out` that was written. No NUL is added.
template <class... Args>
std::string_view format_to(std::span<char> out, format_detail::FormatString<std::type_identity_t<Args>...> string,
                           const Args&... args) {
  SpanSink sink(out);
  format(sink, string, args...);
  return sink.text();
}

}  // namespace keel
