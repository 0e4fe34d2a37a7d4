#include "user/services/manager/run.h"

#include "user/runtime/memory.h"
#include "user/runtime/print.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"
#include "user/services/manager/manager.h"

namespace keel::manager {
namespace {

constexpr std::string_view kConfigPath = "/etc/services.conf";
constexpr u64 kOwnQueue = 64;

Authority authority() {
  return {.control = find_capability("control"),
          .sealer = find_capability("sealer"),
          .initrd = find_capability("initrd"),
          .physical = find_capability("physical"),
          .irq = find_capability("irq"),
          .io = find_capability("io"),
          .time = find_capability("time"),
          .rsdp = argument_value("rsdp")};
}

bool is_start_capability(u64 index) {
  for (u32 i = 0; i < start_capability_count(); ++i) {
    if (start_capability(i).index == index) return true;
  }
  return false;
}

// Ends what a predecessor had made but not written down: processes half started, capabilities under way.
void sweep(Table& table) {
  for (u64 cursor = 0;;) {
    const Result<sys::ProcessCapabilityResult> found = sys::process_capability(self().process, cursor);
    if (!found.has_value()) return;
    cursor = found->next;
    if (is_start_capability(found->index) || table.names(found->index)) continue;
    if (static_cast<ObjectKind>(found->kind_rights & 0xff) == ObjectKind::process) {
      static_cast<void>(sys::process_kill(CapIndex(found->index), kExitKilled));
    }
    delete_quietly(CapIndex(found->index));
  }
}

}  // namespace

Result<void> run(const char** what, const std::function<void(ServiceLoop&)>& before) {
  *what = "state";
  Mapping state = TRY(Mapping::map(TRY(require_capability("state")), Access::read_write));
  Table table = TRY(Table::open(state.bytes()));
  ++table.header().manager_starts;
  if (table.adopted()) sweep(table);

  *what = "boot archive";
  const Mapping initrd = TRY(Mapping::map(TRY(require_capability("initrd")), Access::read));
  const CpioArchive archive = TRY(CpioArchive::open(initrd.bytes()));
  *what = "/etc/services.conf";
  const CpioEntry file = TRY(archive.find(kConfigPath));
  const Config config = parse_config({reinterpret_cast<const char*>(file.data.data()), file.data.size()});
  for (const ConfigError& e : config.errors) log_warning("services.conf:{}: {}", e.line, e.text.view());

  *what = "port";
  if (table.header().manager_port == 0) {
    table.header().manager_port = TRY(sys::port_create(self().group, kOwnQueue)).value;
  }
  ServiceLoop loop{CapIndex(table.header().manager_port)};
  Manager manager(loop, table, config, archive, authority());
  ManagerService service(manager);
  NamesService names(manager);
  loop.add(service);
  loop.add(names);
  manager.begin();
  if (before) before(loop);
  loop.run();
}

}  // namespace keel::manager
