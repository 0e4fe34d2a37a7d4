// The decisions of the service manager, without its deeds: when a service starts, what follows a death.
#pragma once

#include "user/services/manager/config.h"
#include "user/services/manager/table.h"

namespace keel::manager {

// What keeps a waiting service from starting.
enum class Wait : u8 {
  nothing,   // start it
  needs,     // a service that it needs is not ready yet
  uses,      // one whose port it uses may still become ready; it could start, and would wait at the port
  hopeless,  // one that it needs will not come
};
struct Readiness {
  Wait wait = Wait::nothing;
  std::string_view blocked_by;
};
Readiness readiness_of(const Service& service, const Config& config, Table& table);

// Whether the service's state will change only by somebody's order.
bool is_settled(ServiceState state);

enum class AfterDeath : u8 { restart, stop, give_up };
// Counts the death in the record; with restart, record.start_at_ns says when.
AfterDeath decide_after_death(const Service& service, Record& record, u64 now_ns, u64 exit_status);

// Whether a driver is for this device.
bool matches(const Service& driver, u16 vendor, u16 device, u32 class_code);

// The record that provides the port of this name, and which of its ports it is; null if none does.
struct Provider {
  Record* record = nullptr;
  usize port = 0;
};
Provider find_provider(std::string_view port, const Config& config, Table& table);

// The name of a driver's n-th instance (from 1) or of its port: NAME, NAME.2, NAME.3 ...
struct InstanceName {
  char bytes[48];
  usize size = 0;
  std::string_view view() const { return {bytes, size}; }
};
InstanceName instance_name(std::string_view name, u32 instance);
// The number of the instance that a record is.
u32 instance_of(const Record& record);

}  // namespace keel::manager
