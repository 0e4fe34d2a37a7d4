// tools: small programs in one; argument 0 says which. Each ends with 0 if all went well, 1 if a path failed, 2 if it
// was called wrongly.
#include <bearssl_hash.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <vector>

#include "user/apps/shell/output.h"
#include "user/runtime/clock.h"
#include "user/runtime/file.h"
#include "user/runtime/start.h"

namespace keel {
namespace {

using shell::Output;
using Arguments = std::span<const std::string_view>;

u64 complain(std::string_view tool, std::string_view path, Status status) {
  Output out;
  out.print("{}: {}: {}\n", tool, path, explain_path_error(path, status).view());
  return 1;
}

u64 usage(std::string_view tool, std::string_view arguments) {
  Output out;
  out.print("usage: {} {}\n", tool, arguments);
  return 2;
}

// ---- ls, stat, readlink --------------------------------------------------------------------------------------------

struct DateTime {
  u64 year, month, day, hour, minute, second;
};

// Days to civil date: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
DateTime date_of(u64 seconds) {
  const u64 z = seconds / 86400 + 719468, rest = seconds % 86400;
  const u64 era = z / 146097, doe = z % 146097;
  const u64 yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
  const u64 doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
  const u64 mp = (5 * doy + 2) / 153;
  const u64 month = mp < 10 ? mp + 3 : mp - 9;
  return {yoe + era * 400 + (month <= 2 ? 1 : 0),
          month,
          doy - (153 * mp + 2) / 5 + 1,
          rest / 3600,
          rest / 60 % 60,
          rest % 60};
}

FixedString<32> date_text(u64 seconds) {
  FixedString<32> text;
  const DateTime t = date_of(seconds);
  format(text, "{:04}-{:02}-{:02} {:02}:{:02}:{:02}", t.year, t.month, t.day, t.hour, t.minute, t.second);
  return text;
}

FixedString<16> mode_text(const NodeInfo& info) {
  FixedString<16> text;
  constexpr std::string_view kTypes = "?-dlcbps";
  text.append(kTypes.substr(info.type < kTypes.size() ? info.type : 0, 1));
  for (u32 bit = 9; bit-- > 0;) {
    const std::string_view letter = std::string_view("xwr").substr(bit % 3, 1);
    text.append((info.mode >> bit & 1) != 0 ? letter : "-");
  }
  return text;
}

void long_line(Output& out, std::string_view name, std::string_view path, const NodeInfo& info) {
  out.print("{} {:>3} {:>5} {:>5} {:>12}  {}  {}", mode_text(info).view(), info.links, info.uid, info.gid, info.size,
            date_text(info.mtime).view(), name);
  if (info.type == static_cast<u32>(FileType::symlink)) {
    const Result<FixedString<1024>> target = read_link(path);
    if (target.has_value()) out.print(" -> {}", target->view());
  }
  out.print("\n");
}

struct Listed {
  std::string name;
  FileType type;
};

u64 list_directory(Output& out, std::string_view path, bool details) {
  std::vector<Listed> entries;
  const Result<void> listed = for_each_in_directory(path, [&](const DirectoryEntry& entry) {
    entries.push_back({std::string(entry.name), entry.type});
    return true;
  });
  if (!listed.has_value()) {
    out.flush();
    return complain("ls", path, listed.error());
  }
  std::sort(entries.begin(), entries.end(), [](const Listed& a, const Listed& b) { return a.name < b.name; });
  if (details) {
    u64 status = 0;
    for (const Listed& entry : entries) {
      std::string full(path);
      if (!full.ends_with('/')) full += '/';
      full += entry.name;
      Result<NodeInfo> info = stat_path(full);
      if (!info.has_value() && entry.type == FileType::directory) {  // a mount point that cannot be used
        out.print("d?????????   ?     ?     ?            ?  {:<19}  {}/\n", "?", entry.name);
      } else if (!info.has_value()) {
        out.flush();
        status = complain("ls", full, info.error());
      } else {
        long_line(out, entry.name, full, *info);
      }
    }
    return status;
  }
  // Columns of the same width, filled downwards.
  constexpr usize kLineBytes = 79;
  usize width = 1;
  for (Listed& entry : entries) {
    if (entry.type == FileType::directory) entry.name += '/';
    if (entry.type == FileType::symlink) entry.name += '@';
    width = std::max(width, entry.name.size() + 2);
  }
  const usize columns = std::max<usize>(1, (kLineBytes + 2) / width);
  const usize rows = (entries.size() + columns - 1) / columns;
  for (usize row = 0; row < rows; ++row) {
    for (usize i = row; i < entries.size(); i += rows) {
      out.write(entries[i].name);
      if (i + rows < entries.size()) {
        for (usize pad = entries[i].name.size(); pad < width; ++pad) out.write(" ");
      }
    }
    out.write("\n");
  }
  return 0;
}

u64 ls(Arguments arguments) {
  bool details = false;
  std::vector<std::string_view> paths;
  for (const std::string_view argument : arguments) {
    if (argument == "-l") {
      details = true;
    } else if (argument.starts_with('-') && argument.size() > 1) {
      return usage("ls", "[-l] [PATH...]");
    } else {
      paths.push_back(argument);
    }
  }
  if (paths.empty()) paths.push_back("/");
  Output out;
  u64 status = 0;
  for (usize i = 0; i < paths.size(); ++i) {
    const std::string_view path = paths[i];
    Result<NodeInfo> info = resolve_path(path);
    if (!info.has_value() && info.error() == Status::not_found) info = stat_path(path);  // a link to nowhere
    if (!info.has_value()) {
      out.flush();
      status = complain("ls", path, info.error());
      continue;
    }
    if (info->type != static_cast<u32>(FileType::directory)) {
      if (details) {
        long_line(out, path, path, stat_path(path).value_or(*info));
      } else {
        out.print("{}\n", path);
      }
      continue;
    }
    if (paths.size() > 1) out.print("{}{}:\n", i == 0 ? "" : "\n", path);
    status |= list_directory(out, path, details);
  }
  return status;
}

u64 stat(Arguments arguments) {
  if (arguments.empty()) return usage("stat", "PATH...");
  u64 status = 0;
  Output out;
  for (const std::string_view path : arguments) {
    const Result<NodeInfo> info = stat_path(path);
    if (!info.has_value()) {
      out.flush();
      status = complain("stat", path, info.error());
      continue;
    }
    out.print("{:<10} {}\n", "path", path);
    out.print("{:<10} {}\n", "type", type_name(static_cast<FileType>(info->type)));
    out.print("{:<10} {}\n", "size", info->size);
    out.print("{:<10} {}{}{}{} ({})\n", "mode", info->mode >> 9 & 7, info->mode >> 6 & 7, info->mode >> 3 & 7,
              info->mode & 7, mode_text(*info).view());
    out.print("{:<10} {}\n", "owner", info->uid);
    out.print("{:<10} {}\n", "group", info->gid);
    out.print("{:<10} {}\n", "links", info->links);
    out.print("{:<10} {}\n", "blocks", info->blocks);
    out.print("{:<10} {}\n", "inode", info->inode);
    out.print("{:<10} {}\n", "changed", date_text(info->mtime).view());
  }
  return status;
}

u64 readlink(Arguments arguments) {
  if (arguments.empty()) return usage("readlink", "PATH...");
  u64 status = 0;
  for (const std::string_view path : arguments) {
    const Result<FixedString<1024>> target = read_link(path);
    if (!target.has_value()) {
      Output out;
      if (target.error() == Status::invalid_argument) {
        out.print("readlink: {}: not a symbolic link\n", path);
        status = 1;
      } else {
        status = complain("readlink", path, target.error());
      }
      continue;
    }
    Output out;
    out.print("{}\n", target->view());
  }
  return status;
}

// ---- contents ------------------------------------------------------------------------------------------------------

// Calls take(piece) -> bool for the pieces of the file.
template <class Take>
Result<void> for_each_piece(std::string_view path, Take&& take) {
  File file = TRY(File::open(path));
  for (;;) {
    const std::span<const std::byte> piece = TRY(file.next());
    if (piece.empty() || !take(piece)) return {};
  }
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

u64 cat(Arguments arguments) {
  if (arguments.empty()) return usage("cat", "PATH...");
  u64 status = 0;
  for (const std::string_view path : arguments) {
    const Result<void> shown = for_each_piece(path, [](std::span<const std::byte> piece) {
      print_text(as_text(piece));
      return true;
    });
    if (!shown.has_value()) status = complain("cat", path, shown.error());
  }
  return status;
}

u64 head(Arguments arguments) {
  u64 lines = 10;
  if (arguments.size() == 3 && arguments[0] == "-n") {
    std::from_chars(arguments[1].data(), arguments[1].data() + arguments[1].size(), lines);
    arguments = arguments.subspan(2);
  }
  if (arguments.size() != 1) return usage("head", "[-n N] PATH");
  Output out;
  const Result<void> shown = for_each_piece(arguments[0], [&](std::span<const std::byte> piece) {
    std::string_view text = as_text(piece);
    while (lines > 0 && !text.empty()) {
      const usize end = text.find('\n');
      const usize size = end == std::string_view::npos ? text.size() : end + 1;
      out.write(text.substr(0, size));
      text.remove_prefix(size);
      if (end != std::string_view::npos) --lines;
    }
    return lines > 0;
  });
  out.flush();
  return shown.has_value() ? 0 : complain("head", arguments[0], shown.error());
}

u64 wc(Arguments arguments) {
  if (arguments.empty()) return usage("wc", "PATH...");
  u64 status = 0;
  for (const std::string_view path : arguments) {
    u64 lines = 0, words = 0, bytes = 0;
    bool inside = false;
    const Result<void> counted = for_each_piece(path, [&](std::span<const std::byte> piece) {
      for (const char c : as_text(piece)) {
        lines += c == '\n';
        const bool blank = c == ' ' || (c >= '\t' && c <= '\r');
        words += !blank && !inside;
        inside = !blank;
      }
      bytes += piece.size();
      return true;
    });
    if (!counted.has_value()) {
      status = complain("wc", path, counted.error());
      continue;
    }
    Output out;
    out.print("{:>9} {:>9} {:>11} {}\n", lines, words, bytes, path);
  }
  return status;
}

// For measurements: `time drain FILE`.
u64 drain(Arguments arguments) {
  if (arguments.size() != 1) return usage("drain", "PATH");
  u64 bytes = 0;
  const u64 begin = now_ns();
  const Result<void> read = for_each_piece(arguments[0], [&](std::span<const std::byte> piece) {
    bytes += piece.size();
    return true;
  });
  if (!read.has_value()) return complain("drain", arguments[0], read.error());
  Output out;
  out.print("{} bytes in {} us\n", bytes, (now_ns() - begin) / 1000);
  return 0;
}

u64 sha256sum(Arguments arguments) {
  if (arguments.empty()) return usage("sha256sum", "PATH...");
  u64 status = 0;
  for (const std::string_view path : arguments) {
    br_sha256_context context;
    br_sha256_init(&context);
    const Result<void> read = for_each_piece(path, [&](std::span<const std::byte> piece) {
      br_sha256_update(&context, piece.data(), piece.size());
      return true;
    });
    if (!read.has_value()) {
      status = complain("sha256sum", path, read.error());
      continue;
    }
    unsigned char digest[br_sha256_SIZE];
    br_sha256_out(&context, digest);
    Output out;
    for (const unsigned char byte : digest) out.print("{:02x}", byte);
    out.print("  {}\n", path);
  }
  return status;
}

u64 hexdump(Arguments arguments) {
  if (arguments.size() != 1) return usage("hexdump", "PATH");
  const std::string_view path = arguments[0];
  Result<File> file = File::open(path);
  if (!file.has_value()) return complain("hexdump", path, file.error());
  Output out;
  for (;;) {
    const u64 at = file->position();
    std::byte line[16];
    const Result<usize> size = file->read(line);
    if (!size.has_value()) {
      out.flush();
      return complain("hexdump", path, size.error());
    }
    if (*size == 0) break;
    out.print("{:08x} ", at);
    for (usize i = 0; i < sizeof line; ++i) {
      if (i == 8) out.write(" ");
      if (i < *size) {
        out.print(" {:02x}", static_cast<u8>(line[i]));
      } else {
        out.write("   ");
      }
    }
    out.write("  |");
    for (usize i = 0; i < *size; ++i) {
      const char c = static_cast<char>(line[i]);
      const char shown = c >= ' ' && c <= '~' ? c : '.';
      out.write({&shown, 1});
    }
    out.write("|\n");
  }
  out.print("{:08x}\n", file->position());
  return 0;
}

// ---- others --------------------------------------------------------------------------------------------------------

u64 echo(Arguments arguments) {
  Output out;
  for (usize i = 0; i < arguments.size(); ++i) out.print("{}{}", i == 0 ? "" : " ", arguments[i]);
  out.write("\n");
  return 0;
}

u64 sleep(Arguments arguments) {
  u64 seconds = 0;
  if (arguments.size() != 1) return usage("sleep", "SECONDS");
  const std::string_view text = arguments[0];
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) return usage("sleep", "SECONDS");
  sleep_until(after(seconds * kSecond));
  return 0;
}

u64 date(Arguments) {
  Output out;
  const u64 seconds = wall_clock_s();
  if (seconds == 0) {
    out.write("date: this machine told no time\n");
    return 1;
  }
  out.print("{} UTC\n", date_text(seconds).view());
  return 0;
}

struct Tool {
  std::string_view name;
  u64 (*run)(Arguments);
};
constexpr Tool kTools[] = {
    {"ls", ls},
    {"cat", cat},
    {"stat", stat},
    {"readlink", readlink},
    {"hexdump", hexdump},
    {"sha256sum", sha256sum},
    {"wc", wc},
    {"head", head},
    {"drain", drain},
    {"echo", echo},
    {"sleep", sleep},
    {"date", date},
    {"true", [](Arguments) -> u64 { return 0; }},
    {"false", [](Arguments) -> u64 { return 1; }},
};

}  // namespace
}  // namespace keel

int main() {
  using namespace keel;
  std::vector<std::string_view> words;
  for (u32 i = 0; i < argument_count(); ++i) words.push_back(argument(i));
  if (!words.empty() && words[0].ends_with("tools")) words.erase(words.begin());  // tools ls ...
  if (words.empty()) return 2;
  std::string_view name = words[0];
  if (const usize slash = name.rfind('/'); slash != std::string_view::npos) name = name.substr(slash + 1);
  for (const Tool& tool : kTools) {
    if (tool.name == name) return static_cast<int>(tool.run(Arguments(words).subspan(1)));
  }
  shell::Output out;
  out.print("{}: no such tool\n", name);
  return 2;
}
