#include "user/apps/shell/object_names.h"

#include "idl/names.h"
#include "user/apps/shell/commands.h"
#include "user/runtime/stubs.h"

namespace keel::shell {
namespace {

constexpr u64 kBadgeRecord = 0xffff;  // of a service's port: the number of who calls + 1

// Those of which there is one in the machine.
bool is_single(ObjectKind kind) {
  return kind == ObjectKind::kernel_control || kind == ObjectKind::io_ports || kind == ObjectKind::interrupt_control ||
         kind == ObjectKind::sealer;
}

}  // namespace

ObjectNames::ObjectNames(ManagerClient manager) : manager_(manager) {
  if (const Result<sys::CapInfoResult> info = sys::cap_info(manager.port()); info.has_value()) {
    ports_.push_back({"manager", info->object});
  }
  const NamesClient names(find_capability("names"));
  for (u64 cursor = 0;;) {
    const Result<NamesListResult> next = names.list(cursor);
    if (!next.has_value()) return;
    cursor = next->next;
    ports_.push_back({next->name, next->object});
  }
}

const ObjectNames::Port* ObjectNames::find(u64 object) const {
  for (const Port& p : ports_) {
    if (p.object == object && object != 0) return &p;
  }
  return nullptr;
}

u64 ObjectNames::port(std::string_view name) const {
  for (const Port& p : ports_) {
    if (p.name == name) return p.object;
  }
  return 0;
}

FixedString<64> ObjectNames::object(ObjectKind kind, u64 number) const {
  FixedString<64> text(kind_name(kind));
  if (is_single(kind)) return text;
  text.append(" ");
  if (const Port* port = find(number)) {
    text.append(port->name);
  } else if (kind == ObjectKind::process) {
    text.append(name_of_process(number));
  } else {
    format(text, "{}", number);
  }
  return text;
}

FixedString<40> ObjectNames::scope(ObjectKind kind, u64 object, u64 scope) const {
  FixedString<40> text;
  if (scope == 0) return "-";
  if (kind == ObjectKind::port && find(object) != nullptr) {
    const Result<ManagerListResult> caller = manager_.list((scope & kBadgeRecord) - 1);
    if (caller.has_value()) return FixedString<40>(caller->name.view());
  }
  if (kind == ObjectKind::memory || kind == ObjectKind::io_ports || kind == ObjectKind::interrupt_control) {
    const u64 first = scope & 0xffff'ffff;
    format(text, "{:#x}-{:#x}", first, first + (scope >> 32) - 1);
  } else {
    format(text, "{:#x}", scope);
  }
  return text;
}

}  // namespace keel::shell
