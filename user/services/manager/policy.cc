#include "user/services/manager/policy.h"

#include "base/format.h"

namespace keel::manager {

bool is_settled(ServiceState state) {
  return state == ServiceState::ready || state == ServiceState::stopped || state == ServiceState::failed ||
         state == ServiceState::absent;
}

Readiness readiness_of(const Service& service, const Config& config, Table& table) {
  for (const std::string_view need : service.needs) {
    const Record* r = table.find(need);
    if (r == nullptr || r->state == ServiceState::failed || r->state == ServiceState::absent)
      return {Wait::hopeless, need};
  }
  for (const std::string_view need : service.needs) {
    const ServiceState state = table.find(need)->state;
    if (state != ServiceState::ready && state != ServiceState::stopped) return {Wait::needs, need};
  }
  for (const std::string_view use : service.uses) {
    const Provider provider = find_provider(use, config, table);
    if (provider.record == nullptr || text_of(provider.record->config) == service.name) continue;
    if (!is_settled(provider.record->state)) return {Wait::uses, text_of(provider.record->name)};
  }
  return {};
}

AfterDeath decide_after_death(const Service& service, Record& record, u64 now_ns, u64 exit_status) {
  if (service.restart == RestartPolicy::never) return AfterDeath::stop;
  if (service.restart == RestartPolicy::on_failure && exit_status == 0) return AfterDeath::stop;
  if (record.window_restarts == 0 || now_ns - record.window_start_ns > service.restart_window_ns) {
    record.window_start_ns = now_ns;
    record.window_restarts = 0;
    record.backoff_ns = service.backoff_first_ns;
  }
  if (record.window_restarts >= service.max_restarts) return AfterDeath::give_up;
  ++record.window_restarts;
  record.start_at_ns = now_ns + record.backoff_ns;
  record.backoff_ns = record.backoff_ns > service.backoff_max_ns / 2 ? service.backoff_max_ns : record.backoff_ns * 2;
  return AfterDeath::restart;
}

bool matches(const Service& driver, u16 vendor, u16 device, u32 class_code) {
  for (const DeviceMatch& m : driver.match) {
    if (m.kind == DeviceMatch::Kind::pci_id && m.vendor == vendor && m.device == device) return true;
    if (m.kind == DeviceMatch::Kind::pci_class && m.class_code == (class_code >> 16 & 0xff) &&
        m.subclass == (class_code >> 8 & 0xff)) {
      return true;
    }
  }
  return false;
}

Provider find_provider(std::string_view port, const Config& config, Table& table) {
  for (Record& r : table.records()) {
    const Service* service = config.find(text_of(r.config));
    if (service == nullptr) continue;
    const u32 instance = instance_of(r);
    for (usize i = 0; i < service->provides.size() && i < kMaxPorts; ++i) {
      if (instance_name(service->provides[i], instance).view() == port) return {&r, i};
    }
  }
  return {};
}

InstanceName instance_name(std::string_view name, u32 instance) {
  InstanceName made;
  made.size =
      (instance <= 1 ? format_to(made.bytes, "{}", name) : format_to(made.bytes, "{}.{}", name, instance)).size();
  return made;
}

u32 instance_of(const Record& record) {
  const std::string_view name = text_of(record.name), config = text_of(record.config);
  if (name.size() <= config.size() + 1) return 1;
  u32 number = 0;
  for (const char c : name.substr(config.size() + 1)) number = number * 10 + static_cast<u32>(c - '0');
  return number;
}

}  // namespace keel::manager
