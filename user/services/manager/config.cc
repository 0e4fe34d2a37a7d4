#include "user/services/manager/config.h"

#include <optional>

#include "base/format.h"
#include "user/services/manager/permissions.h"

namespace keel::manager {
namespace {

constexpr u64 kNanosecondsPerDay = 86'400'000'000'000;

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

std::string_view trim(std::string_view s) {
  while (!s.empty() && is_blank(s.front())) s.remove_prefix(1);
  while (!s.empty() && is_blank(s.back())) s.remove_suffix(1);
  return s;
}

// Up to a '#' that begins the line or follows a blank.
std::string_view without_comment(std::string_view line) {
  for (usize i = 0; i < line.size(); ++i) {
    if (line[i] == '#' && (i == 0 || is_blank(line[i - 1]))) return line.substr(0, i);
  }
  return line;
}

bool is_name(std::string_view s) {
  if (s.empty() || s.size() > kMaxServiceNameBytes) return false;
  for (const char c : s) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.')) return false;
  }
  return true;
}

bool is_printable(std::string_view s) {
  for (const char c : s) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  }
  return true;
}

// Takes digits of `base` from the front. nullopt: none, or more than fits.
std::optional<u64> take_number(std::string_view* s, u64 base = 10) {
  u64 value = 0;
  usize used = 0;
  for (; used < s->size(); ++used) {
    const char c = (*s)[used];
    u64 digit = 99;
    if (c >= '0' && c <= '9') digit = static_cast<u64>(c - '0');
    if (c >= 'a' && c <= 'f') digit = static_cast<u64>(c - 'a') + 10;
    if (c >= 'A' && c <= 'F') digit = static_cast<u64>(c - 'A') + 10;
    if (digit >= base) break;
    if (!checked_mul(value, base, &value) || !checked_add(value, digit, &value)) return std::nullopt;
  }
  if (used == 0) return std::nullopt;
  s->remove_prefix(used);
  return value;
}

bool take(std::string_view* s, std::string_view prefix) {
  if (!s->starts_with(prefix)) return false;
  s->remove_prefix(prefix.size());
  return true;
}

// A time in nanoseconds, at most a day.
std::optional<u64> parse_duration(std::string_view s) {
  const std::optional<u64> number = take_number(&s);
  if (!number.has_value()) return std::nullopt;
  const u64 unit = s == "us" ? 1'000 : s == "ms" ? 1'000'000 : s == "s" ? 1'000'000'000 : s == "m" ? 60'000'000'000 : 0;
  u64 value = 0;
  if (unit == 0 || !checked_mul(*number, unit, &value) || value > kNanosecondsPerDay) return std::nullopt;
  return value;
}

std::optional<u64> parse_size(std::string_view s) {
  const std::optional<u64> number = take_number(&s);
  if (!number.has_value()) return std::nullopt;
  const u64 unit = s.empty() ? 1 : s == "K" ? 1 << 10 : s == "M" ? 1 << 20 : 0;
  u64 value = 0;
  if (unit == 0 || !checked_mul(*number, unit, &value) || value > kMaxStateBytes) return std::nullopt;
  return value;
}

// Exactly `digits` hexadecimal digits.
std::optional<u64> take_hex(std::string_view* s, usize digits) {
  if (s->size() < digits) return std::nullopt;
  std::string_view part = s->substr(0, digits);
  const std::optional<u64> value = take_number(&part, 16);
  if (!value.has_value() || !part.empty()) return std::nullopt;
  s->remove_prefix(digits);
  return value;
}

// "0x3f8" or "1016", at most 16 bits: an I/O port, an interrupt line.
std::optional<u64> take_u16(std::string_view* s) {
  const std::optional<u64> value = take(s, "0x") ? take_number(s, 16) : take_number(s);
  return value.has_value() && *value <= 0xffff ? value : std::nullopt;
}

std::optional<DeviceMatch> parse_match(std::string_view s) {
  DeviceMatch match;
  const bool by_class = take(&s, "pci-class:");
  if (!by_class && !take(&s, "pci:")) return std::nullopt;
  const usize digits = by_class ? 2 : 4;
  const std::optional<u64> first = take_hex(&s, digits);
  if (!first.has_value() || !take(&s, ":")) return std::nullopt;
  const std::optional<u64> second = take_hex(&s, digits);
  if (!second.has_value() || !s.empty()) return std::nullopt;
  if (by_class) {
    match.kind = DeviceMatch::Kind::pci_class;
    match.class_code = static_cast<u8>(*first);
    match.subclass = static_cast<u8>(*second);
  } else {
    match.vendor = static_cast<u16>(*first);
    match.device = static_cast<u16>(*second);
  }
  return match;
}

template <class T>
struct Word {
  std::string_view text;
  T value;
};

constexpr Word<CapabilityKind> kCapabilityWords[] = {
    {"irq-control", CapabilityKind::irq_control},
    {"kernel-log", CapabilityKind::kernel_log},
    {"physical-memory", CapabilityKind::physical_memory},
    {"acpi", CapabilityKind::acpi},
    {"reboot", CapabilityKind::reboot},
    {"kernel-info", CapabilityKind::kernel_info},
    {"kernel-trace", CapabilityKind::kernel_trace},
    {"kernel-audit", CapabilityKind::kernel_audit},
    {"kernel-tune", CapabilityKind::kernel_tune},
    {"kernel-weaken", CapabilityKind::kernel_weaken},
    {"kernel-console", CapabilityKind::kernel_console},
    {"seal", CapabilityKind::seal},
    {"unseal", CapabilityKind::unseal},
    {"initrd", CapabilityKind::initrd},
};
constexpr Word<RestartPolicy> kRestartWords[] = {
    {"always", RestartPolicy::always},
    {"on-failure", RestartPolicy::on_failure},
    {"never", RestartPolicy::never},
};
constexpr Word<Priority> kPriorityWords[] = {
    {"real-time", Priority::real_time}, {"high", Priority::high}, {"normal", Priority::normal}, {"low", Priority::low},
    {"idle", Priority::idle},
};

template <class T, usize N>
std::optional<T> find_word(const Word<T> (&words)[N], std::string_view text) {
  for (const Word<T>& word : words) {
    if (word.text == text) return word.value;
  }
  return std::nullopt;
}

std::optional<CapabilityWish> parse_capability(std::string_view s) {
  const bool ports = take(&s, "io-ports:");
  if (ports || take(&s, "irq-control:")) {
    const std::optional<u64> first = take_u16(&s);
    if (!first.has_value()) return std::nullopt;
    const std::optional<u64> last = take(&s, "-") ? take_u16(&s) : first;
    if (!last.has_value() || !s.empty() || *last < *first) return std::nullopt;
    return CapabilityWish{.kind = ports ? CapabilityKind::io_ports : CapabilityKind::irq_control,
                          .whole = false,
                          .first = static_cast<u16>(*first),
                          .last = static_cast<u16>(*last)};
  }
  const std::optional<CapabilityKind> kind = find_word(kCapabilityWords, s);
  if (!kind.has_value()) return std::nullopt;
  return CapabilityWish{.kind = *kind};
}

template <class... Args>
Sentence sentence(format_detail::FormatString<std::type_identity_t<Args>...> text, const Args&... args) {
  Sentence made;
  made.length = static_cast<u8>(format_to(made.bytes, text, args...).size());
  return made;
}

class Parser {
 public:
  explicit Parser(Config* config) : config_(*config) {}

  void parse(std::string_view text) {
    if (text.size() > kMaxConfigBytes) {
      report(0, nullptr, sentence("the file is larger than {} bytes; nothing of it is used", kMaxConfigBytes));
      return;
    }
    config_.services.reserve(kMaxServices);  // so that pointers to services stay valid
    for (line_ = 1; !text.empty(); ++line_) {
      const usize end = text.find('\n');
      parse_line(trim(without_comment(text.substr(0, end))));
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    finish_section();
    check_needs();
    check_cycles();
    spread_failures();
  }

 private:
  enum Key : u32 {
    kExec,
    kArgs,
    kNeeds,
    kProvides,
    kUses,
    kCapabilities,
    kMatch,
    kRestart,
    kBackoff,
    kMaxRestarts,
    kHeartbeat,
    kPriority,
    kState,
    kUid,
    kGid,
    kKeyCount
  };
  static constexpr std::string_view kKeyNames[kKeyCount] = {
      "exec",    "args",         "needs",     "provides", "uses",  "capabilities", "match", "restart",
      "backoff", "max-restarts", "heartbeat", "priority", "state", "uid",          "gid"};

  // Records an error and marks `service` (null: none) as failed.
  void report(u32 line, Service* service, const Sentence& text) {
    if (config_.errors.size() < kMaxConfigErrors) {
      config_.errors.push_back({line, text});
    } else {
      config_.more_errors = true;
    }
    if (service != nullptr && !service->failed()) service->failed_reason = text;
  }
  template <class... Args>
  void bad(format_detail::FormatString<std::type_identity_t<Args>...> text, const Args&... args) {
    report(line_, service_, sentence(text, args...));
  }

  void parse_line(std::string_view line) {
    if (line.empty()) return;
    if (line.front() == '[') {
      finish_section();
      begin_section(line);
      return;
    }
    if (skipping_) return;  // in a section whose header was wrong: reported there
    const usize equals = line.find('=');
    if (equals == std::string_view::npos) return bad("expected 'key = value' or '[service NAME]', found '{}'", line);
    const std::string_view key = trim(line.substr(0, equals));
    const std::string_view value = trim(line.substr(equals + 1));
    if (service_ == nullptr) return bad("'{}' stands before the first section", key);
    for (u32 k = 0; k < kKeyCount; ++k) {
      if (key != kKeyNames[k]) continue;
      if ((seen_ & 1u << k) != 0) return bad("'{}' is given twice", key);
      seen_ |= 1u << k;
      if (value.empty()) return bad("'{}' has no value", key);
      if (!is_printable(value)) return bad("the value of '{}' holds a control character", key);
      return parse_value(static_cast<Key>(k), value);
    }
    bad("unknown key '{}'", key);
  }

  void begin_section(std::string_view line) {
    skipping_ = true;
    seen_ = 0;
    if (line.back() != ']') return bad("a section header ends with ']'");
    line = trim(line.substr(1, line.size() - 2));
    const usize kind_end = line.find_first_of(" \t");
    const std::string_view kind = line.substr(0, kind_end);
    const std::string_view name = kind_end == std::string_view::npos ? "" : trim(line.substr(kind_end));
    if (kind != "service" && kind != "driver") return bad("unknown section '{}'; expected 'service' or 'driver'", kind);
    if (!is_name(name)) return bad("'{}' is no name: 1 to {} of a-z 0-9 - _ .", name, kMaxServiceNameBytes);
    if (config_.services.size() == kMaxServices)
      return bad("more than {} services; '{}' is left out", kMaxServices, name);
    skipping_ = false;
    const Service* other = config_.find(name);
    config_.services.emplace_back();
    service_ = &config_.services.back();
    service_->name = name;
    service_->is_driver = kind == "driver";
    service_->line = line_;
    if (other != nullptr) bad("'{}' is defined a second time; first in line {}", name, other->line);
  }

  void finish_section() {
    if (service_ != nullptr && (seen_ & 1u << kExec) == 0) {
      report(service_->line, service_, sentence("'{}' has no exec", service_->name));
    }
    if (service_ != nullptr && service_->is_driver && (seen_ & 1u << kMatch) == 0) {
      report(service_->line, service_, sentence("driver '{}' has no match", service_->name));
    }
    if (service_ != nullptr) merge_permissions(*service_);
    permitted_ = {};
    service_ = nullptr;
    skipping_ = false;
  }

  // What the words of permissions.h gave, beside what was listed.
  void merge_permissions(Service& s) {
    const bool all_files = permitted_.files.empty() || (permitted_.files.size() == 1 && permitted_.files[0] == "/");
    bool room = true;
    if (!permitted_.files.empty()) {
      if (has(s.uses, std::string_view("vfs")) && !all_files) {
        return report(s.line, &s,
                      sentence("'uses = vfs' gives '{}' all files; file_read would narrow nothing", s.name));
      }
      s.files = permitted_.files;
      if (!has(permitted_.uses, std::string_view("vfs"))) room = permitted_.uses.push_back("vfs");
    }
    for (const std::string_view use : permitted_.uses) room = (has(s.uses, use) || s.uses.push_back(use)) && room;
    for (const CapabilityKind kind : permitted_.capabilities) {
      bool listed = false;
      for (const CapabilityWish& wish : s.capabilities) listed = listed || wish.kind == kind;
      room = (listed || s.capabilities.push_back({.kind = kind})) && room;
    }
    if (!room) report(s.line, &s, sentence("'{}' has more than {} uses or capabilities", s.name, kMaxListItems));
  }
  template <class T>
  static bool has(const ConfigList<T>& list, const T& item) {
    for (const T& other : list) {
      if (other == item) return true;
    }
    return false;
  }

  // Calls `add(item)` for each; it answers whether the item is good. `add` reports what else is wrong.
  template <class Add>
  void parse_list(Key key, std::string_view value, Add add) {
    for (bool more = true; more;) {
      const usize comma = value.find(',');
      more = comma != std::string_view::npos;
      const std::string_view item = trim(value.substr(0, comma));
      value.remove_prefix(more ? comma + 1 : value.size());
      if (item.empty()) return bad("'{}' has an empty item", kKeyNames[key]);
      if (!add(item)) return;
    }
  }
  template <class T>
  bool append(Key key, ConfigList<T>* list, const T& item) {
    if (list->push_back(item)) return true;
    bad("'{}' has more than {} items", kKeyNames[key], kMaxListItems);
    return false;
  }
  void parse_names(Key key, std::string_view value, ConfigList<std::string_view>* list) {
    parse_list(key, value, [&](std::string_view item) {
      if (!is_name(item)) return bad("'{}' is no name: 1 to {} of a-z 0-9 - _ .", item, kMaxServiceNameBytes), false;
      for (const std::string_view other : *list) {
        if (other == item) return bad("'{}' is listed twice in '{}'", item, kKeyNames[key]), false;
      }
      return append(key, list, item);
    });
  }

  void parse_value(Key key, std::string_view value) {
    Service& s = *service_;
    switch (key) {
      case kExec:
        if (value.front() != '/' || value.size() > 255) return bad("exec '{}' is no absolute path", value);
        s.exec = value;
        return;
      case kArgs:
        return parse_list(key, value, [&](std::string_view item) { return append(key, &s.args, item); });
      case kNeeds:
        return parse_names(key, value, &s.needs);
      case kProvides:
        return parse_names(key, value, &s.provides);
      case kUses:
        return parse_names(key, value, &s.uses);
      case kCapabilities:
        return parse_list(key, value, [&](std::string_view item) {
          if (const std::optional<CapabilityWish> wish = parse_capability(item)) {
            return append(key, &s.capabilities, *wish);
          }
          Sentence why;
          const PermissionOutcome outcome = grant_permission(item, s.is_driver, permitted_, why);
          if (outcome == PermissionOutcome::unknown) return bad("unknown capability '{}'", item), false;
          if (outcome == PermissionOutcome::refused) return report(line_, service_, why), false;
          return true;
        });
      case kMatch:
        if (!s.is_driver) return bad("only a driver has 'match'");
        return parse_list(key, value, [&](std::string_view item) {
          const std::optional<DeviceMatch> match = parse_match(item);
          if (!match.has_value()) return bad("'{}' is no match; pci:VVVV:DDDD or pci-class:CC:SS", item), false;
          return append(key, &s.match, *match);
        });
      case kRestart:
        if (const auto word = find_word(kRestartWords, value)) {
          s.restart = *word;
          return;
        }
        return bad("restart '{}' is not always, on-failure or never", value);
      case kBackoff:
        return parse_backoff(value);
      case kMaxRestarts:
        return parse_max_restarts(value);
      case kHeartbeat: {
        if (value == "off") return;
        const std::optional<u64> time = parse_duration(value);
        if (!time.has_value() || *time == 0) return bad("heartbeat '{}' is no time such as 2s, nor off", value);
        s.heartbeat_ns = *time;
        return;
      }
      case kPriority:
        if (const auto word = find_word(kPriorityWords, value)) {
          s.priority = *word;
          return;
        }
        return bad("priority '{}' is not real-time, high, normal, low or idle", value);
      case kState: {
        const std::optional<u64> size = parse_size(value);
        if (!size.has_value())
          return bad("state '{}' is no size such as 64K, at most {}M", value, kMaxStateBytes >> 20);
        s.state_bytes = *size;
        return;
      }
      case kUid:
        return parse_label(value, "uid", &s.uid);
      case kGid:
        return parse_label(value, "gid", &s.gid);
      case kKeyCount:
        return;
    }
  }

  void parse_label(std::string_view value, std::string_view name, u32* label) {
    std::string_view rest = value;
    const std::optional<u64> number = take_number(&rest);
    if (!number.has_value() || !rest.empty() || *number >= kNoLabel) {
      return bad("{} '{}' is no number below {}", name, value, kNoLabel);
    }
    *label = static_cast<u32>(*number);
  }

  void parse_backoff(std::string_view value) {
    const usize dots = value.find("..");
    const std::optional<u64> first = parse_duration(trim(value.substr(0, dots)));
    const std::optional<u64> last =
        dots == std::string_view::npos ? first : parse_duration(trim(value.substr(dots + 2)));
    if (!first.has_value() || !last.has_value() || *last < *first) {
      return bad("backoff '{}' is no range such as 10ms..5s", value);
    }
    service_->backoff_first_ns = *first;
    service_->backoff_max_ns = *last;
  }

  void parse_max_restarts(std::string_view value) {
    std::string_view rest = value;
    const std::optional<u64> count = take_number(&rest);
    const bool slash = take(&rest, "/");
    const std::optional<u64> window = parse_duration(rest);
    if (!count.has_value() || *count > 1'000'000 || !slash || !window.has_value() || *window == 0) {
      return bad("max-restarts '{}' is no count per time such as 10/60s", value);
    }
    service_->max_restarts = static_cast<u32>(*count);
    service_->restart_window_ns = *window;
  }

  void check_needs() {
    for (Service& s : config_.services) {
      for (const std::string_view need : s.needs) {
        if (config_.find(need) == nullptr) {
          report(s.line, &s, sentence("'{}' needs '{}', which is not defined", s.name, need));
        }
      }
    }
  }

  usize index_of(std::string_view name) const {
    return static_cast<usize>(config_.find(name) - config_.services.data());
  }

  void check_cycles() {
    for (usize i = 0; i < config_.services.size(); ++i) {
      if (mark_[i] == Mark::unseen) visit(i);
    }
  }
  // Depth first; path_ holds the services from the start to here. At most kMaxServices deep.
  void visit(usize i) {
    mark_[i] = Mark::on_path;
    (void)path_.push_back(i);  // a service is on the path once: it fits
    for (const std::string_view need : config_.services[i].needs) {
      if (config_.find(need) == nullptr) continue;
      const usize j = index_of(need);
      if (mark_[j] == Mark::on_path) report_cycle(j);
      if (mark_[j] == Mark::unseen) visit(j);
    }
    path_.pop_back();
    mark_[i] = Mark::done;
  }
  void report_cycle(usize first) {
    usize begin = 0;
    while (path_[begin] != first) ++begin;
    Sentence text;
    SpanSink sink(text.bytes);
    sink.write("dependency cycle: ");
    for (usize k = begin; k < path_.size(); ++k) format(sink, "{} -> ", config_.services[path_[k]].name);
    sink.write(config_.services[first].name);
    text.length = static_cast<u8>(sink.text().size());
    report(config_.services[first].line, &config_.services[first], text);
    for (usize k = begin; k < path_.size(); ++k) {
      Service& s = config_.services[path_[k]];
      if (!s.failed()) s.failed_reason = text;
    }
  }

  // What needs a failed service fails too. Each round fails at least one more.
  void spread_failures() {
    for (bool changed = true; changed;) {
      changed = false;
      for (Service& s : config_.services) {
        if (s.failed()) continue;
        for (const std::string_view need : s.needs) {
          if (!config_.find(need)->failed()) continue;  // check_needs() has failed services with unknown needs
          s.failed_reason = sentence("needs '{}', which cannot be used", need);
          changed = true;
          break;
        }
      }
    }
  }

  enum class Mark : u8 { unseen, on_path, done };
  Config& config_;
  Service* service_ = nullptr;  // of the open section
  u32 line_ = 0;
  u32 seen_ = 0;                // keys of the open section
  PermissionGrants permitted_;  // in the open section
  bool skipping_ = false;
  std::array<Mark, kMaxServices> mark_{};
  InplaceVector<usize, kMaxServices> path_;
};

}  // namespace

const Service* Config::find(std::string_view name) const {
  for (const Service& s : services) {
    if (s.name == name) return &s;
  }
  return nullptr;
}

InplaceVector<u16, kMaxServices> Config::start_order() const {
  InplaceVector<u16, kMaxServices> order;
  std::array<bool, kMaxServices> started{};
  // Each round takes the first service whose needs have all been taken. Usable services have no cycles.
  for (bool found = true; found;) {
    found = false;
    for (usize i = 0; i < services.size() && !found; ++i) {
      if (started[i] || services[i].failed()) continue;
      bool ready = true;
      for (const std::string_view need : services[i].needs) {
        ready = ready && started[static_cast<usize>(find(need) - services.data())];
      }
      if (!ready) continue;
      started[i] = true;
      found = order.push_back(static_cast<u16>(i));
    }
  }
  return order;
}

Config parse_config(std::string_view text) {
  Config config;
  Parser(&config).parse(text);
  return config;
}

}  // namespace keel::manager
