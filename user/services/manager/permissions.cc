#include "user/services/manager/permissions.h"

#include <charconv>

#include "base/format.h"

namespace keel::manager {
namespace {

constexpr std::string_view kNoNetwork = "no service offers the network yet";

enum class Argument : u8 { none, path, maybe_path, port, device };

// One word: either `missing` says why it cannot be had, or the rest what it gives.
struct Word {
  std::string_view name;
  Argument argument = Argument::none;
  std::string_view missing = {};
  bool files = false;
  std::string_view uses[2] = {};
  CapabilityKind capabilities[4] = {};
  u32 capability_count = 0;
};

constexpr Word kWords[] = {
    {.name = "file_read", .argument = Argument::maybe_path, .files = true},
    {.name = "file_write", .argument = Argument::maybe_path, .missing = "no file system can be written yet"},
    {.name = "file_execute", .files = true},
    {.name = "net_listen", .missing = kNoNetwork},
    {.name = "net_connect", .missing = kNoNetwork},
    {.name = "net_raw", .missing = kNoNetwork},
    {.name = "net_bind", .argument = Argument::port, .missing = kNoNetwork},
    {.name = "net_admin", .missing = kNoNetwork},
    {.name = "iface_control", .missing = kNoNetwork},
    {.name = "route_modify", .missing = kNoNetwork},
    {.name = "hw_disk", .uses = {"block"}},
    {.name = "hw_usb", .missing = "no service offers USB yet"},
    {.name = "hw_audio", .missing = "no service offers sound yet"},
    {.name = "hw_video", .missing = "no service offers a display yet"},
    {.name = "device_access", .argument = Argument::device},
    {.name = "ipc_send"},
    {.name = "ipc_recv"},
    {.name = "ipc_create"},
    {.name = "process_spawn"},
    {.name = "sys_admin",
     .uses = {"manager", "names"},
     .capabilities = {CapabilityKind::kernel_info, CapabilityKind::kernel_log, CapabilityKind::kernel_trace,
                      CapabilityKind::kernel_audit},
     .capability_count = 4},
    {.name = "sys_reboot", .capabilities = {CapabilityKind::reboot}, .capability_count = 1},
    {.name = "sys_chroot", .missing = "no service changes roots; file_read(PATH) gives a part of the tree"},
};

struct Set {
  std::string_view name;
  std::string_view words[5];
};
constexpr Set kSets[] = {
    {"app_set", {"file_read", "ipc_send", "ipc_recv"}},
    {"service_set", {"file_read", "file_execute", "ipc_send", "ipc_recv", "ipc_create"}},
    {"driver_set", {}},
    {"admin_set", {"file_read", "ipc_send", "ipc_recv", "sys_admin"}},
};

struct Device {
  std::string_view name;
  std::string_view port;
};
constexpr Device kDevices[] = {{"disk", "block"}, {"console", "console"}};

template <class... Args>
PermissionOutcome refuse(Sentence& why, format_detail::FormatString<std::type_identity_t<Args>...> text,
                         const Args&... args) {
  why.length = static_cast<u8>(format_to(why.bytes, text, args...).size());
  return PermissionOutcome::refused;
}

template <class T>
bool add(ConfigList<T>& list, const T& item) {
  for (const T& other : list) {
    if (other == item) return true;
  }
  return list.push_back(item);
}

// Absolute, without empty parts, "." and "..", so that it can be compared with canonical paths.
bool is_canonical(std::string_view path) {
  if (path == "/") return true;
  if (!path.starts_with('/') || path.ends_with('/')) return false;
  for (path.remove_prefix(1); !path.empty();) {
    const usize end = path.find('/');
    const std::string_view part = path.substr(0, end);
    if (part.empty() || part == "." || part == "..") return false;
    path.remove_prefix(end == std::string_view::npos ? path.size() : end + 1);
  }
  return true;
}

bool is_port(std::string_view text) {
  u32 value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value >= 1 && value <= 0xffff;
}

PermissionOutcome grant_word(const Word& word, std::string_view item, std::string_view argument, bool has_argument,
                             PermissionGrants& grants, Sentence& why) {
  const bool may = word.argument != Argument::none;
  const bool must = may && word.argument != Argument::maybe_path;
  if (has_argument && !may) return refuse(why, "'{}' takes no argument", word.name);
  if (!has_argument && must) return refuse(why, "'{}' lacks its argument in brackets", word.name);
  const bool path = word.argument == Argument::path || word.argument == Argument::maybe_path;
  if (has_argument && path && !is_canonical(argument)) {
    return refuse(why, "'{}': the path must be absolute and plain", item);
  }
  if (word.argument == Argument::port && !is_port(argument)) return refuse(why, "'{}': 1 to 65535 is a port", item);
  if (!word.missing.empty()) return refuse(why, "'{}': {}", item, word.missing);
  bool room = true;
  if (word.argument == Argument::device) {
    const Device* found = nullptr;
    for (const Device& device : kDevices) found = device.name == argument ? &device : found;
    if (found == nullptr) return refuse(why, "'{}': no service offers that device", item);
    room = add(grants.uses, found->port);
  }
  if (word.files) room = add(grants.files, has_argument ? argument : std::string_view("/")) && room;
  for (const std::string_view use : word.uses) room = (use.empty() || add(grants.uses, use)) && room;
  for (u32 i = 0; i < word.capability_count; ++i) room = add(grants.capabilities, word.capabilities[i]) && room;
  return room ? PermissionOutcome::granted : refuse(why, "'{}': too many permissions", item);
}

}  // namespace

PermissionOutcome grant_permission(std::string_view item, bool is_driver, PermissionGrants& grants, Sentence& why) {
  const usize open = item.find('(');
  const std::string_view name = item.substr(0, open);
  const bool has_argument = open != std::string_view::npos;
  for (const Word& word : kWords) {
    if (word.name != name) continue;
    if (has_argument && item.back() != ')') return refuse(why, "'{}' lacks a ')'", item);
    const std::string_view argument = has_argument ? item.substr(open + 1, item.size() - open - 2) : "";
    return grant_word(word, item, argument, has_argument, grants, why);
  }
  for (const Set& set : kSets) {
    if (set.name != item) continue;
    if (set.name == "driver_set" && !is_driver) return refuse(why, "only a driver has 'driver_set'");
    for (const std::string_view word : set.words) {
      if (word.empty()) continue;
      const PermissionOutcome outcome = grant_permission(word, is_driver, grants, why);
      if (outcome != PermissionOutcome::granted) return outcome;
    }
    return PermissionOutcome::granted;
  }
  return PermissionOutcome::unknown;
}

}  // namespace keel::manager
