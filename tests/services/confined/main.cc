// Services that their manifests confine, each by an argument: what they may and may not do, from inside. `policy` is
// the permission hook that the vfs asks; `judge` ends the machine when the others have ended.
#include "idl/file_system.h"
#include "idl/manager.h"
#include "idl/permission.h"
#include "idl/vfs.h"
#include "user/runtime/file.h"
#include "user/runtime/print.h"
#include "user/runtime/service_loop.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"
#include "user/runtime/thread.h"

namespace keel {
namespace {

constexpr std::string_view kConfig = "/etc/services.conf";
constexpr u32 kStopped = 4, kFailed = 5;  // states of services

u32 g_test = 0;
u32 g_failed = 0;

void check(bool good, std::string_view what) {
  ++g_test;
  g_failed += !good;
  log_notice("{} {} - {}: {}", good ? "ok" : "not ok", g_test, argument(0), what);
}

Status opens(std::string_view path) { return File::open(path).status(); }
Status lists(std::string_view path) {
  return for_each_in_directory(path, [](const DirectoryEntry&) { return true; }).status();
}

// Which reads of the labelled service the hook forbids.
class Policy final : public PermissionServer {
 public:
  Result<u32> check(Session, u32 uid, u32, std::string_view object, u32 wanted) override {
    return uid == 1000 && object == kConfig ? 0 : wanted;
  }
};

void test_sealing() {
  const CapIndex seal = find_capability("seal"), unseal = find_capability("unseal");
  Cap made = MUST(own(sys::notification_create(self().group)));
  const sys::CapSealResult t = MUST(sys::cap_seal(seal, made.get().value));
  const Result<CapIndex> again = sys::cap_unseal(unseal, t.token0, t.token1, t.token2, t.token3, t.token4);
  check(again.has_value() && sys::notification_signal(*again, 4).has_value() &&
            sys::notification_wait(made.get(), kPoll).value_or(0) == 4,
        "a token becomes a capability to the same object");
  check(sys::cap_unseal(unseal, t.token0, t.token1, t.token2, t.token3, t.token4 ^ 1).status() == Status::access_denied,
        "a forged token is refused");
  check(sys::cap_seal(unseal, made.get().value).status() == Status::missing_right, "who may unseal may not seal");
  made.reset();
  check(sys::cap_unseal(unseal, t.token0, t.token1, t.token2, t.token3, t.token4).status() == Status::revoked,
        "a token dies with its capability");
}

void test_leases() {
  const Cap made = MUST(own(sys::notification_create(self().group)));
  constexpr Rights kRights = rights::common | rights::notification::wait;
  const CapIndex leased = MUST(sys::cap_derive_until(made.get(), kRights, 0, after(kSecond)));
  check(sys::notification_wait(leased, kPoll).status() == Status::timed_out, "a capability for a time works");
  check(sys::notification_wait(leased, kForever).status() == Status::revoked,
        "who waits through it is woken at its end");
  check(sys::notification_wait(leased, kPoll).status() == Status::bad_capability, "and it is gone");
}

void scoped() {
  check(opens(kConfig) == Status::ok, "a file below the path that it was given opens");
  check(lists("/etc") == Status::ok, "the path itself is listed");
  for (const std::string_view path : {"/bin/confined", "/etc/../bin/confined", "/nope"}) {
    check(opens(path) == (path == "/nope" ? Status::not_found : Status::access_denied), path);
  }
  check(lists("/") == Status::access_denied && lists("/bin") == Status::access_denied, "nothing else is listed");
  const VfsClient vfs(find_capability("vfs"));
  const VfsResolveResult found = MUST(vfs.resolve(kConfig));
  const Result<NodeInfo> other = FileSystemClient(found.file_system.get()).stat(1);
  check(other.has_value() && other->inode == found.info.inode, "the port of a file means that file, whatever is asked");
  test_sealing();
  test_leases();
}

void labelled() {
  check(opens("/disk/public") == Status::ok, "a file that all may read opens");
  check(opens("/disk/secret") == Status::access_denied, "one that only its owner may read does not");
  check(opens("/disk/closed/public") == Status::access_denied, "nor one in a directory that may not be searched");
  check(stat_path("/disk/secret").has_value(), "it may be looked at");
  check(opens(kConfig) == Status::access_denied, "what the permission hook forbids does not open");
  check(opens("/bin/confined") == Status::ok, "what it allows does");
}

Result<ManagerListResult> find(const ManagerClient& manager, std::string_view name) {
  for (u64 cursor = 0;;) {
    ManagerListResult entry = TRY(manager.list(cursor));
    if (entry.name == name) return entry;
    cursor = entry.next;
  }
}

[[noreturn]] void judge() {
  const ManagerClient manager(find_capability("manager"));
  u64 failed = 0;
  for (const std::string_view name : {"scoped", "labelled"}) {
    Result<ManagerListResult> entry = find(manager, name);
    while (entry.has_value() && entry->state != kStopped) {
      sleep_until(after(10 * kMillisecond));
      entry = find(manager, name);
    }
    failed += !entry.has_value() || !entry->reason.view().ends_with("status 0x0");
  }
  check(failed == 0, "the others end well");
  const Result<ManagerListResult> refused = find(manager, "refused");
  check(refused.has_value() && refused->state == kFailed &&
            refused->reason == "'net_raw': no service offers the network yet",
        "who asks for what nobody offers is refused by name");
  const PowerAction verdict = g_failed == 0 ? PowerAction::off : PowerAction::failed;
  static_cast<void>(sys::system_power(find_capability("reboot"), static_cast<u64>(verdict)));
  fatal("the machine does not stop");
}

}  // namespace
}  // namespace keel

int main() {
  using namespace keel;
  const std::string_view role = argument(0);
  if (role == "policy") {
    Policy policy;
    ServiceLoop loop(find_capability("serve.permission"));
    loop.add(policy);
    loop.run();
  }
  if (role == "judge") judge();
  if (role == "scoped") scoped();
  if (role == "labelled") labelled();
  return static_cast<int>(g_failed);
}
