// capctl: who may do what, and how they came by it, from the live derivation trees of the kernel.
#include <vector>

#include "idl/vfs.h"
#include "user/apps/shell/commands.h"
#include "user/apps/shell/object_names.h"
#include "user/runtime/clock.h"
#include "user/runtime/stubs.h"

namespace keel::shell {
namespace {

u64 slot_of(u64 index) { return index >> 5 & 0xffff; }

// A node of a derivation tree.
struct Node {
  explicit Node(const sys::CapabilityListResult& r)
      : what(static_cast<NodeWhat>(r.node & 0xff)),
        kind(static_cast<ObjectKind>(r.node >> 8 & 0xff)),
        rights(static_cast<Rights>(r.node >> 16)),
        depth(r.node >> 32 & 0xff),
        pid(r.process),
        index(r.index),
        object(r.object),
        scope(r.scope),
        expiry(r.expiry),
        children(r.children) {}
  NodeWhat what;
  ObjectKind kind;
  Rights rights;
  u64 depth, pid, index, object, scope;
  Deadline expiry;
  u64 children;
};

Result<sys::CapabilityListResult> ask(u64 pid, u64 cursor, u64 up) {
  return sys::capability_list(find_capability("kernel-audit"), pid, cursor, up);
}

// The ancestor of a capability `up` generations above it.
Result<Node> ancestor(const Node& node, u64 up) { return Node(TRY(ask(node.pid, slot_of(node.index), up))); }

// Calls take(node) for each capability of the process. A process that ends meanwhile has none any more.
template <class Take>
Result<void> each_capability(u64 pid, Take take) {
  for (u64 cursor = 0;;) {
    const Result<sys::CapabilityListResult> r = ask(pid, cursor, 0);
    if (!r.has_value()) return r.error() == Status::not_found ? Result<void>() : r.error();
    cursor = r->next;
    take(Node(*r));
  }
}

// ... of each process.
template <class Take>
Result<void> each_capability_of_all(Take take) {
  for (u64 after = 0;;) {
    const Result<sys::ProcessListResult> p = sys::process_list(find_capability("kernel-info"), after);
    if (!p.has_value()) return p.error() == Status::not_found ? Result<void>() : p.error();
    after = p->id;
    TRY(each_capability(p->id, take));
  }
}

// Who holds the nearest capability above that somebody still has.
FixedString<24> giver_of(const Node& node) {
  for (u64 up = 1; up <= node.depth; ++up) {
    const Result<Node> above = ancestor(node, up);
    if (!above.has_value()) break;
    if (above->what == NodeWhat::capability) return name_of_process(above->pid);
  }
  return "-";  // the first capability to the object
}

FixedString<24> lifetime_of(const Node& node) {
  FixedString<24> text;
  if (node.expiry == kForever) return "-";
  const u64 now = now_ns();
  const u64 left = node.expiry.value > now ? node.expiry.value - now : 0;
  format(text, "{}.{} s", left / kSecond, left % kSecond / 100'000'000);
  return text;
}

// ---- who-can -------------------------------------------------------------------------------------------------------

struct Target {
  ObjectKind kind = ObjectKind::none;  // all objects of the kind, if `object` is 0
  u64 object = 0;
};

ObjectKind kind_named(std::string_view name) {
  for (u32 i = 1; i < 32; ++i) {
    const ObjectKind kind = static_cast<ObjectKind>(i);
    if (kind_name(kind) == name) return kind;
  }
  return ObjectKind::none;
}

// Whether a session of the vfs reaches the path: the badge names the service whose manifest gave it.
bool session_reaches(const ManagerClient& manager, u64 badge, std::string_view path) {
  for (u64 i = 0;; ++i) {
    const Result<ManagerFileAccessResult> next = manager.file_access(badge, i);
    if (!next.has_value()) return false;
    const std::string_view scope = next->path.view();
    if (scope.empty()) return i == 0;
    if (scope == "/" || (path.starts_with(scope) && (path.size() == scope.size() || path[scope.size()] == '/'))) {
      return true;
    }
  }
}

u64 who_can(Shell& shell, std::string_view what) {
  const ObjectNames names(shell.manager());
  std::vector<Target> targets;
  Output out;
  if (what.starts_with('/')) {
    const VfsClient vfs(find_capability("vfs"));
    const Result<VfsResolveResult> found = vfs.resolve(what);
    if (!found.has_value()) return shell.fail("capctl", what, found.error());
    const Result<sys::CapInfoResult> info = sys::cap_info(found->file_system.get());
    if (!info.has_value()) return shell.fail("capctl", what, info.error());
    targets = {{ObjectKind::port, names.port("vfs")}, {ObjectKind::port, info->object}};
    out.print("{} is in {}. Who may call that, or vfs in a session that reaches it, may ask for it:\n", what,
              names.object(ObjectKind::port, info->object).view());
  } else if (const Result<u64> number = number_of(what); number.has_value()) {
    targets = {{ObjectKind::none, *number}};
  } else if (const u64 port = names.port(what); port != 0) {
    targets = {{ObjectKind::port, port}};
    if (const Result<u64> pid = process_of(what); pid.has_value()) targets.push_back({ObjectKind::process, *pid});
  } else if (const ObjectKind kind = kind_named(what); kind != ObjectKind::none) {
    targets = {{kind, 0}};
  } else if (const Result<u64> pid = process_of(what); pid.has_value()) {
    targets = {{ObjectKind::process, *pid}};
  } else {
    return shell.fail("capctl", what, Status::not_found, "no path, service, process, kind or number of an object");
  }
  out.print("{:<16} {:>5}  {:<22} {:<14} {:<12} {:<8} {}\n", "process", "pid", "object", "as", "got it from", "for",
            "rights");
  u64 found = 0;
  const Result<void> done = each_capability_of_all([&](const Node& node) {
    for (const Target& t : targets) {
      if (t.object == 0 ? node.kind != t.kind : node.object != t.object) continue;
      const bool session = what.starts_with('/') && t.object == targets[0].object && node.scope != 0;
      if (session && !session_reaches(shell.manager(), node.scope, what)) return;
      out.print("{:<16} {:>5}  {:<22} {:<14} {:<12} {:<8} {}\n", name_of_process(node.pid).view(), node.pid,
                names.object(node.kind, node.object).view(), names.scope(node.kind, node.object, node.scope).view(),
                giver_of(node).view(), lifetime_of(node).view(), names_of_rights(node.kind, node.rights).view());
      ++found;
      return;
    }
  });
  out.flush();
  if (!done.has_value()) return shell.fail("capctl", what, done.error());
  if (found == 0) return shell.fail("capctl", what, Status::not_found, "nobody holds a capability to it");
  return 0;
}

// ---- path ----------------------------------------------------------------------------------------------------------

u64 path(Shell& shell, std::string_view from, std::string_view to) {
  const Result<u64> giver = process_of(from);
  if (!giver.has_value()) return shell.fail("capctl", from, giver.error(), "no such process");
  const Result<u64> receiver = process_of(to);
  if (!receiver.has_value()) return shell.fail("capctl", to, receiver.error(), "no such process");
  const ObjectNames names(shell.manager());
  Output out;
  u64 found = 0;
  const Result<void> done = each_capability(*receiver, [&](const Node& node) {
    FixedString<160> way;
    for (u64 up = 1; up <= node.depth; ++up) {
      const Result<Node> above = ancestor(node, up);
      if (!above.has_value()) return;
      if (above->what == NodeWhat::capability && above->pid == *giver) {
        if (found++ == 0) out.print("{:<24} {:<14} {:<28} {}\n", "object", "as", "by way of", "rights");
        out.print("{:<24} {:<14} {:<28} {}\n", names.object(node.kind, node.object).view(),
                  names.scope(node.kind, node.object, node.scope).view(),
                  way.empty() ? std::string_view("-") : way.view(), names_of_rights(node.kind, node.rights).view());
        return;
      }
      FixedString<200> longer(above->what == NodeWhat::lease        ? std::string_view("(for a time)")
                              : above->what == NodeWhat::capability ? name_of_process(above->pid).view()
                                                                    : std::string_view("(gone)"));
      if (!way.empty()) longer.append(", "), longer.append(way);
      way = longer.view();
    }
  });
  if (!done.has_value()) return out.flush(), shell.fail("capctl", to, done.error());
  if (found == 0) out.print("{} holds nothing that was derived from what {} holds\n", to, from);
  return found == 0 ? 1 : 0;
}

// ---- explain -------------------------------------------------------------------------------------------------------

u64 explain_capability(Shell& shell, std::string_view process, std::string_view index_text) {
  const Result<u64> pid = process_of(process);
  if (!pid.has_value()) return shell.fail("capctl", process, pid.error(), "no such process");
  const Result<u64> index = number_of(index_text);
  if (!index.has_value()) return shell.fail("capctl", index_text, index.error(), "no index; `caps PID` shows them");
  const Result<sys::CapabilityListResult> r = ask(*pid, slot_of(*index), 0);
  if (!r.has_value() || r->index != *index) {
    return shell.fail("capctl", index_text, r.has_value() ? Status::bad_capability : r.error(),
                      "the process holds no such capability");
  }
  const Node node(*r);
  const ObjectNames names(shell.manager());
  Output out;
  out.print("{:<14} {}\n", "object", names.object(node.kind, node.object).view());
  out.print("{:<14} {}\n", "rights", names_of_rights(node.kind, node.rights).view());
  out.print("{:<14} {}\n", node.kind == ObjectKind::port ? "badge" : "scope",
            names.scope(node.kind, node.object, node.scope).view());
  out.print("{:<14} {}\n", "ends in", lifetime_of(node).view());
  constexpr std::string_view kChildren[] = {"capabilities", "mappings", "bindings", "deleted"};
  out.print("{:<14}", "derived");
  for (u32 i = 0; i < std::size(kChildren); ++i) {
    out.print(" {} {}{}", node.children >> (16 * i) & 0xffff, kChildren[i], i + 1 < std::size(kChildren) ? "," : "\n");
  }
  out.print("{:<14} ", "from");
  for (u64 up = 0;; ++up) {
    const Result<Node> step = ancestor(node, up);
    if (!step.has_value()) break;
    if (up != 0) out.print("{:<14} ", "");
    switch (step->what) {
      case NodeWhat::capability:
        out.print("{} ({:#x}) {}\n", name_of_process(step->pid).view(), step->index,
                  names_of_rights(step->kind, step->rights).view());
        break;
      case NodeWhat::deleted:
        out.print("(given up by its holder)\n");
        break;
      case NodeWhat::lease:
        out.print("(for a time)\n");
        break;
    }
  }
  out.print("{:<14} kernel\n", "");
  return 0;
}

}  // namespace

u64 capctl(Shell& shell, Words words) {
  if (words.size() == 3 && words[1] == "who-can") return who_can(shell, words[2]);
  if (words.size() == 4 && words[1] == "path") return path(shell, words[2], words[3]);
  if (words.size() == 4 && words[1] == "explain") return explain_capability(shell, words[2], words[3]);
  return usage("capctl");
}

}  // namespace keel::shell
