#include "user/services/manager/manager.h"

#include "base/inplace_vector.h"
#include "user/runtime/group.h"
#include "user/runtime/print.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"

namespace keel::manager {
namespace {

constexpr u64 kPortQueue = 16;
constexpr u64 kStartTimeout = 30 * kSecond;
constexpr u64 kDeviceManagerPatience = 3 * kSecond;
constexpr u64 kDead = 3;                               // process_info: state
constexpr std::string_view kDeviceManager = "devmgr";  // the port, and so the service behind it

constexpr std::string_view kPermissionHook = "permission";  // a port that need not be there: user/runtime/permit.h

constexpr Rights kClient =
    rights::transfer | rights::derive | rights::inspect | rights::port::call | rights::port::send;
constexpr Rights kServe = kClient | rights::port::receive | rights::port::badge;
constexpr Rights kShare = rights::transfer | rights::derive | rights::inspect;

u32 level_of(Priority priority) {
  switch (priority) {
    case Priority::real_time:
      return kRealTimeLevel;
    case Priority::high:
      return kHighLevel;
    case Priority::normal:
      return kNormalLevel;
    case Priority::low:
      return kLowLevel;
    case Priority::idle:
      return kIdleLevel;
  }
  return kNormalLevel;
}

}  // namespace

// The list for spawn_process, with the names that had to be made.
struct Manager::Grants {
  InplaceVector<Grant, 48> list;
  std::array<FixedString<kStartNameBytes>, kMaxPorts + 16> made;
  usize made_count = 0;
  bool complete = true;

  void add(std::string_view name, CapIndex source, Rights rights, u64 scope = 0) {
    if (source == kNoCapability) return;
    complete = list.push_back({name, source, rights, scope}) && complete;
  }
  // As add(), under PREFIX NAME.
  void add_made(std::string_view prefix, std::string_view name, CapIndex source, Rights rights, u64 scope = 0) {
    FixedString<kStartNameBytes>& text = made[made_count++ % made.size()];
    text = prefix;
    complete = text.append(name) && made_count <= made.size() && complete;
    add(text, source, rights, scope);
  }
};

void Manager::begin() {
  death_bit_ = loop_.allocate_bit();
  loop_.on_signal(death_bit_, [this] {
    deaths_ = true;
    changed_.notify();
  });
  if (table_.adopted()) adopt();
  create_records();
  if (!keel::start(supervise())) fatal("no memory to supervise services");
}

// ---- records -------------------------------------------------------------------------------------------------------

void Manager::adopt() {
  u32 running = 0;
  for (Record& r : table_.records()) {
    const Service* service = service_of(r);
    const bool half_started = r.intent == Intent::starting;
    if (r.process != 0 && (half_started || service == nullptr)) {
      static_cast<void>(sys::process_kill(CapIndex(r.process), kExitKilled));
      delete_quietly(CapIndex(r.process));
      r.process = 0;
    }
    if (service == nullptr) {
      r.state = ServiceState::stopped;
    } else if (half_started ||
               (r.process == 0 && (r.state == ServiceState::starting || r.state == ServiceState::ready))) {
      r.state = ServiceState::waiting;
    } else if (r.process != 0) {
      ++running;
      live(r) = {now_ns(), now_ns()};
      static_cast<void>(sys::process_watch(CapIndex(r.process), loop_.notification(), ServiceLoop::mask(death_bit_)));
    }
    commit();
    r.intent = Intent::none;
  }
  deaths_ = true;  // whoever died while nobody watched
  log_notice("service manager: start {}, took over {} running services", table_.header().manager_starts, running);
}

void Manager::create_records() {
  for (const Service& service : config_.services) {
    if (config_.find(service.name) != &service) continue;  // a second one of that name
    Record* r = table_.find(service.name);
    if (r == nullptr) r = table_.add(service.name, service.name);
    if (r == nullptr) {
      log_error("{}: no room in the table of services", service.name);
      continue;
    }
    if (service.failed()) {
      give_up(*r, service.failed_reason.view());
    } else if (const Result<void> made = create_ports(*r, service); !made.has_value()) {
      give_up(*r, "no memory for its ports");
    }
  }
}

Result<void> Manager::create_ports(Record& r, const Service& service) {
  if (service.provides.size() > kMaxPorts) return Status::too_big;
  for (usize i = 0; i < service.provides.size(); ++i) {
    if (r.ports[i] == 0) r.ports[i] = TRY(sys::port_create(self().group, kPortQueue)).value;
  }
  return {};
}

Record* Manager::caller(Session session) {
  const u64 number = session.badge & kBadgeRecord;
  return number == 0 || number > table_.records().size() ? nullptr : &table_.records()[number - 1];
}

Record* Manager::find_pid(u64 pid) {
  for (Record& r : table_.records()) {
    if (r.process != 0 && r.pid == pid) return &r;
  }
  return nullptr;
}

// ---- supervision ---------------------------------------------------------------------------------------------------

Task<void> Manager::supervise() {
  for (;;) {
    advance();
    co_await changed_.wait(next_deadline());
  }
}

void Manager::advance() {
  if (deaths_) reap();
  Record* devices = find_provider(kDeviceManager, config_, table_).record;
  if (devices != nullptr && devices->state == ServiceState::ready && !scanned_) scan_devices();
  for (Record& r : table_.records()) check_heartbeat(r);
  do {
    for (bool changed = true; changed;) {
      changed = false;
      for (u32 i = 0; i < table_.records().size(); ++i) changed = advance_record(table_.records()[i]) || changed;
    }
  } while (break_circle());
  print_summary();
}

// Whether its state changed.
bool Manager::advance_record(Record& r) {
  const Service* service = service_of(r);
  if (service == nullptr) return false;
  if (r.state == ServiceState::restarting && r.start_at_ns <= now_ns()) r.state = ServiceState::waiting;
  if (r.state != ServiceState::waiting) return false;
  if (service->is_driver && r.device_id == 0) {
    const Record* devices = find_provider(kDeviceManager, config_, table_).record;
    const bool hopeless = devices == nullptr || (is_settled(devices->state) && devices->state != ServiceState::ready);
    if (!hopeless && !scanned_) return false;
    r.state = ServiceState::absent;
    set_text(r.reason, hopeless ? "there is no device manager" : "no such device in this machine");
    return true;
  }
  const Readiness readiness = readiness_of(*service, config_, table_);
  // The device manager must know what is in use before it stops a device for the next driver.
  if (service->is_driver && !scanned_ && readiness.wait == Wait::nothing) return false;
  switch (readiness.wait) {
    case Wait::needs:
    case Wait::uses:
      return false;
    case Wait::hopeless: {
      char text[sizeof r.reason];
      give_up(r, format_to(text, "needs {}, which does not run", readiness.blocked_by));
      return true;
    }
    case Wait::nothing:
      start(r, *service);
      return true;
  }
  return false;
}

// Services that use each other in a circle would wait for ever: when nothing else moves, the first of them starts.
bool Manager::break_circle() {
  Record* candidate = nullptr;
  for (Record& r : table_.records()) {
    if (r.state == ServiceState::starting || r.state == ServiceState::restarting) return false;
    const Service* service = service_of(r);
    if (r.state != ServiceState::waiting || service == nullptr || candidate != nullptr) continue;
    if (service->is_driver && r.device_id == 0) continue;
    if (readiness_of(*service, config_, table_).wait == Wait::uses) candidate = &r;
  }
  if (candidate == nullptr) return false;
  start(*candidate, *service_of(*candidate));
  return true;
}

Deadline Manager::next_deadline() {
  u64 next = kForever.value;
  auto at = [&next](u64 time) { next = time < next ? time : next; };
  for (const Record& r : table_.records()) {
    const Service* service = service_of(r);
    if (r.state == ServiceState::restarting) at(r.start_at_ns);
    if (r.state == ServiceState::starting) at(live(r).started_ns + kStartTimeout);
    if (r.state == ServiceState::ready && service != nullptr && service->heartbeat_ns != 0) {
      at(live(r).beat_ns + 2 * service->heartbeat_ns);
    }
  }
  return Deadline(next);
}

void Manager::check_heartbeat(Record& r) {
  const Service* service = service_of(r);
  if (service == nullptr || r.process == 0) return;
  const u64 now = now_ns();
  if (r.state == ServiceState::starting && now >= live(r).started_ns + kStartTimeout) {
    log_warning("{}: not ready after {} s", text_of(r.name), kStartTimeout / kSecond);
    live(r).started_ns = now;
    kill(r, kExitTimedOut);
  } else if (r.state == ServiceState::ready && service->heartbeat_ns != 0 &&
             now >= live(r).beat_ns + 2 * service->heartbeat_ns) {
    log_warning("{}: no heartbeat for {} ms", text_of(r.name), (now - live(r).beat_ns) / kMillisecond);
    live(r).beat_ns = now;
    kill(r, kExitTimedOut);
  }
}

void Manager::report_ready(Record& r) {
  if (r.state != ServiceState::starting) return;  // the same instance again, after a restart of the manager
  r.ready_ns = now_ns();
  set_text(r.reason, "");
  live(r).beat_ns = r.ready_ns;
  commit();
  r.state = ServiceState::ready;
  log_notice("{:<16} ready {:>6} ms  process {}", text_of(r.name), (r.ready_ns - live(r).started_ns) / kMillisecond,
             r.pid);
  if (r.restarts != 0) tell_users(r);
  changed_.notify();
}

void Manager::heartbeat(Record& r) { live(r).beat_ns = now_ns(); }

void Manager::kill(Record& r, u64 status) {
  if (r.process != 0) static_cast<void>(sys::process_kill(CapIndex(r.process), status));
}

void Manager::restart(Record& r) {
  r.window_restarts = 0;
  if (r.process != 0) return kill(r, kExitKilled);
  if (r.state == ServiceState::failed) {
    // Its clients lost their capabilities when it was given up; they come back with new ones.
    for (const Service& user : config_.services) {
      Record* other = table_.find(user.name);
      if (other == nullptr || other == &r) continue;
      for (const std::string_view use : user.uses) {
        if (find_provider(use, config_, table_).record == &r) kill(*other, kExitKilled);
      }
    }
  }
  if (const Service* service = service_of(r); service != nullptr && !service->failed()) r.state = ServiceState::waiting;
  changed_.notify();
}

// Tells those who use a port of the service that another instance is behind it.
void Manager::tell_users(const Record& r) {
  for (const Record& user : table_.records()) {
    const Service* service = service_of(user);
    if (service == nullptr || user.events == 0) continue;
    for (usize i = 0; i < service->uses.size() && i < ServiceLoop::kManagerBits; ++i) {
      if (find_provider(service->uses[i], config_, table_).record != &r) continue;
      static_cast<void>(sys::notification_signal(CapIndex(user.events), u64{1} << i));  // ours: cannot fail
    }
  }
}

void Manager::print_summary() {
  if (table_.header().summary_printed != 0) return;
  u32 ready = 0, failed = 0;
  for (const Record& r : table_.records()) {
    if (!is_settled(r.state)) return;
    ready += r.state == ServiceState::ready;
    failed += r.state == ServiceState::failed;
  }
  table_.header().summary_printed = 1;
  log_notice("ready in {} ms: {} services, {} failed; what does not work yet: see CAVEATS.md", now_ns() / kMillisecond,
             ready, failed);
}

// ---- death ---------------------------------------------------------------------------------------------------------

void Manager::reap() {
  deaths_ = false;
  for (Record& r : table_.records()) {
    if (r.process == 0) continue;
    const Result<sys::ProcessInfoResult> info = sys::process_info(CapIndex(r.process));
    if (info.has_value() && info->state != kDead) continue;
    bury(r, info.has_value() ? info->exit_status : kExitKilled, info.has_value() ? info->faults : 0);
  }
}

void Manager::bury(Record& r, u64 exit_status, u64 faults) {
  const Service& service = *service_of(r);  // a record without one has no process, see adopt()
  delete_quietly(CapIndex(r.process));
  r.process = 0;
  if (find_provider(kDeviceManager, config_, table_).record == &r) scanned_ = false;
  const std::string_view how = faults != 0 ? "faulted" : "ended";
  char reason[sizeof r.reason];
  switch (decide_after_death(service, r, now_ns(), exit_status)) {
    case AfterDeath::restart:
      ++r.restarts;
      commit();
      r.state = ServiceState::restarting;
      log_warning("{:<16} {} with status {:#x}; again in {} ms", text_of(r.name), how, exit_status,
                  (r.start_at_ns - now_ns()) / kMillisecond);
      return;
    case AfterDeath::stop:
      set_text(r.reason, format_to(reason, "{} with status {:#x}", how, exit_status));
      r.state = ServiceState::stopped;
      log_notice("{:<16} {} with status {:#x}", text_of(r.name), how, exit_status);
      return;
    case AfterDeath::give_up:
      give_up(r, format_to(reason, "{} more than {} times in {} s, last with status {:#x}", how, service.max_restarts,
                           service.restart_window_ns / kSecond, exit_status));
      return;
  }
}

void Manager::give_up(Record& r, std::string_view reason) {
  set_text(r.reason, reason);
  commit();
  r.state = ServiceState::failed;
  log_error("{:<16} failed: {}", text_of(r.name), reason);
  // Nobody will answer: whoever waits at its ports gets Revoked instead.
  for (const u64 port : r.ports) {
    if (port != 0) static_cast<void>(sys::cap_revoke(CapIndex(port)));
  }
}

// ---- starting ------------------------------------------------------------------------------------------------------

void Manager::start(Record& r, const Service& service) {
  const char* what = "?";
  r.intent = Intent::starting;
  commit();
  const Result<void> started = try_start(r, service, &what);
  commit();
  r.intent = Intent::none;
  if (started.has_value()) return;
  char reason[sizeof r.reason];
  const std::string_view text = format_to(reason, "cannot start ({}): {}", what, started.error());
  // What may be different next time is tried again, like a death.
  const bool again = started.error() == Status::no_memory || started.error() == Status::timed_out ||
                     started.error() == Status::peer_died;
  if (!again || decide_after_death(service, r, now_ns(), kExitTimedOut) != AfterDeath::restart) return give_up(r, text);
  log_warning("{:<16} {}", text_of(r.name), text);
  r.state = ServiceState::restarting;
}

Result<void> Manager::try_start(Record& r, const Service& service, const char** what) {
  *what = "program";
  const CpioEntry program = TRY(archive_.find(service.exec));
  *what = "group";
  if (r.group == 0) r.group = TRY(create_group(self().group, text_of(r.name))).value;
  *what = "events";
  if (r.events == 0) r.events = TRY(sys::notification_create(self().group)).value;
  *what = "state";
  if (r.memory == 0 && service.state_bytes != 0) {
    r.memory =
        TRY(sys::memory_create(CapIndex(r.group), align_up(service.state_bytes, kPageSize) / kPageSize, 0)).value;
  }
  *what = "device";
  if (service.is_driver) TRY(prepare_driver(r));
  *what = "capabilities";
  Grants grants;
  collect_grants(r, service, grants);
  if (!grants.complete) return Status::too_big;

  InplaceVector<std::string_view, kMaxListItems + 2> arguments;
  for (const std::string_view argument : service.args) static_cast<void>(arguments.push_back(argument));
  char beat[48], rsdp[48];
  if (service.heartbeat_ns != 0)
    static_cast<void>(arguments.push_back(format_to(beat, "heartbeat={}", service.heartbeat_ns)));
  for (const CapabilityWish& wish : service.capabilities) {
    if (wish.kind != CapabilityKind::acpi) continue;
    static_cast<void>(arguments.push_back(format_to(rsdp, "rsdp={}", authority_.rsdp)));
  }
  Child child = TRY(spawn_process({.name = text_of(r.name),
                                   .image = program.data,
                                   .image_memory = authority_.initrd,
                                   .image_offset = static_cast<u64>(program.data.data() - archive_.bytes().data()),
                                   .arguments = {arguments.begin(), arguments.size()},
                                   .grants = {grants.list.begin(), grants.list.size()},
                                   .group = CapIndex(r.group),
                                   .label_authority = authority_.control,
                                   .labels = {service.uid, service.gid},
                                   .level = level_of(service.priority)},
                                  what));
  r.pid = child.id;
  r.process = child.process.release().value;
  r.state = ServiceState::starting;
  live(r) = {now_ns(), now_ns()};
  *what = "watch";
  return sys::process_watch(CapIndex(r.process), loop_.notification(), ServiceLoop::mask(death_bit_));
}

Result<void> Manager::prepare_driver(Record& r) {
  const DeviceManagerClient devices = device_manager();
  if (r.restarts != 0) TRY(devices.quiesce(r.device_id, after(kDeviceManagerPatience)));
  if (r.device_port == 0) {
    DeviceManagerOpenResult opened = TRY(devices.open(r.device_id, after(kDeviceManagerPatience)));
    r.device_domain = opened.domain.release().value;
    r.device_port = opened.port.release().value;
  }
  return {};
}

void Manager::collect_grants(Record& r, const Service& service, Grants& grants) {
  const u64 number = index_of(r) + 1;
  bool control = false, names = false;
  for (const std::string_view use : service.uses) {
    control = control || use == "manager";
    names = names || use == "names";
  }
  const u64 badge = number | (control ? kBadgeControl : 0) | (names ? kBadgeNames : 0);
  const CapIndex own_port(table_.header().manager_port);
  grants.add("manager", own_port, kClient, badge);
  if (names) grants.add("names", own_port, kClient, badge);
  grants.add("log", authority_.control, kShare | rights::kernel_control::log_write);
  grants.add("time", authority_.time, kShare | rights::memory::read);
  grants.add("events", CapIndex(r.events), kShare | rights::notification::signal | rights::notification::wait);
  grants.add("state", CapIndex(r.memory), kShare | rights::memory::read | rights::memory::write);
  grants.add("device", CapIndex(r.device_port), kClient);
  for (usize i = 0; i < service.provides.size(); ++i) {
    grants.add_made("serve.", service.provides[i], CapIndex(r.ports[i]), kServe);
  }
  for (const std::string_view use : service.uses) grant_use(r, use, grants);
  u32 port_ranges = 0;
  for (const CapabilityWish& wish : service.capabilities) {
    grant_wish(wish, port_ranges, grants);
    port_ranges += wish.kind == CapabilityKind::io_ports;
  }
}

// A port whose service failed is not granted: the user finds no capability of that name.
void Manager::grant_use(Record& r, std::string_view use, Grants& grants) {
  if (use == "manager" || use == "names") return;
  const Provider provider = find_provider(use, config_, table_);
  if (provider.record == nullptr && use == kPermissionHook) return;  // its own rules decide then
  if (provider.record == nullptr || provider.record->state == ServiceState::failed ||
      provider.record->state == ServiceState::absent) {
    log_warning("{}: nobody provides {}", text_of(r.name), use);
    return;
  }
  grants.add(use, CapIndex(provider.record->ports[provider.port]), kClient, index_of(r) + 1);
}

void Manager::grant_wish(const CapabilityWish& wish, u32 ports_before, Grants& grants) {
  namespace k = rights::kernel_control;
  switch (wish.kind) {
    case CapabilityKind::irq_control:
      return grants.add("irq-control", authority_.irq, kShare | rights::interrupt_control::create, wish.scope());
    case CapabilityKind::io_ports: {
      const Rights rights = kShare | rights::io_ports::read | rights::io_ports::write;
      if (ports_before == 0) return grants.add("io-ports", authority_.io, rights, wish.scope());
      return grants.add_made("io-ports", instance_name("", ports_before + 1).view(), authority_.io, rights,
                             wish.scope());
    }
    case CapabilityKind::kernel_log:
      return grants.add("kernel-log", authority_.control, kShare | k::log_read | k::log_write);
    case CapabilityKind::physical_memory:
      grants.add("physical-memory", authority_.physical, rights::common | rights::memory::read | rights::memory::write);
      return grants.add("dma-control", authority_.control, kShare | k::physical);
    case CapabilityKind::acpi:
      return;  // an argument: try_start()
    case CapabilityKind::reboot:
      return grants.add("reboot", authority_.control, kShare | k::power);
    case CapabilityKind::kernel_info:
      return grants.add("kernel-info", authority_.control, kShare | k::read);
    case CapabilityKind::kernel_trace:
      return grants.add("kernel-trace", authority_.control, kShare | k::trace);
    case CapabilityKind::kernel_audit:
      return grants.add("kernel-audit", authority_.control, kShare | k::audit);
    case CapabilityKind::kernel_tune:
      return grants.add("kernel-tune", authority_.control, kShare | k::tune);
    case CapabilityKind::kernel_weaken:
      return grants.add("kernel-weaken", authority_.control, kShare | k::tune | k::weaken);
    case CapabilityKind::seal:
      return grants.add("seal", authority_.sealer, kShare | rights::sealer::seal);
    case CapabilityKind::unseal:
      return grants.add("unseal", authority_.sealer, kShare | rights::sealer::unseal);
    case CapabilityKind::kernel_console:
      return grants.add("kernel-console", authority_.control, kShare | k::tune);
    case CapabilityKind::initrd:
      return grants.add("initrd", authority_.initrd, kShare | rights::memory::read | rights::memory::execute);
  }
}

// ---- devices -------------------------------------------------------------------------------------------------------

DeviceManagerClient Manager::device_manager() {
  const Provider provider = find_provider(kDeviceManager, config_, table_);
  return DeviceManagerClient(provider.record == nullptr ? kNoCapability
                                                        : CapIndex(provider.record->ports[provider.port]));
}

void Manager::scan_devices() {
  const DeviceManagerClient devices = device_manager();
  u64 cursor = 0;
  for (;;) {
    const Result<DeviceManagerNextResult> found = devices.next(cursor, after(kDeviceManagerPatience));
    if (!found.has_value() && found.error() == Status::not_found) break;
    if (!found.has_value()) return log_warning("devices: {}", found.error());  // it dies or is dead: asked again then
    add_device(found->info);
    cursor = found->next;
  }
  for (const Record& r : table_.records()) {
    if (r.device_domain == 0) continue;
    const Result<void> adopted = devices.adopt(r.device_id, CapIndex(r.device_domain), after(kDeviceManagerPatience));
    if (!adopted.has_value()) return log_warning("{}: its device: {}", text_of(r.name), adopted.error());
  }
  scanned_ = true;
  static_cast<void>(sys::cpus_start(authority_.control));  // the buses have been looked at
}

// The first driver that is for the device gets it.
void Manager::add_device(const DeviceInfo& info) {
  for (const Record& r : table_.records()) {
    if (r.device_id == info.id) return;
  }
  for (const Service& driver : config_.services) {
    if (!driver.is_driver || driver.failed() || !matches(driver, info.vendor, info.device, info.class_code)) continue;
    Record* r = table_.find(driver.name);
    for (u32 instance = 2; r != nullptr && r->device_id != 0; ++instance) {
      const InstanceName name = instance_name(driver.name, instance);
      r = table_.find(name.view());
      if (r == nullptr) {
        r = table_.add(name.view(), driver.name);
        break;
      }
    }
    if (r == nullptr) return log_error("{}: no room in the table of services", driver.name);
    if (!create_ports(*r, driver).has_value()) return give_up(*r, "no memory for its ports");
    r->device_id = info.id;
    if (r->state == ServiceState::absent) r->state = ServiceState::waiting;
    return;
  }
}

Result<void> Manager::power(PowerAction action) {
  if (action != PowerAction::off && action != PowerAction::reset) return Status::invalid_argument;
  const bool off = action == PowerAction::off;
  log_notice("{}", off ? "power off" : "reset");
  const DeviceManagerClient devices = device_manager();
  if (devices) {
    const Deadline deadline = after(kDeviceManagerPatience);
    static_cast<void>(off ? devices.power_off(deadline) : devices.reset(deadline));  // comes back if it failed
  }
  return sys::system_power(authority_.control, static_cast<u64>(action));
}

}  // namespace keel::manager
