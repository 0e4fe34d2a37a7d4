// Config: what /etc/services.conf says. Parses text that an operator wrote, and says precisely what is wrong with it.
//
//   # comment, also behind a value when a blank precedes it
//   [service log]                    or [driver NAME]
//   exec = /bin/log                  path of the program; the only key that must be there
//   args = --verbose, --ring         all lists are separated by commas
//   needs = time, fs                 services that run before this one
//   provides = log                   ports it offers
//   uses = time, block               ports it may call
//   capabilities = kernel-log, io-ports:0x3f8-0x3ff
//                                    irq-control irq-control:A[-B] io-ports:A[-B] kernel-log physical-memory reboot
//                                    acpi (an argument rsdp=ADDRESS) kernel-info kernel-trace kernel-audit
//                                    kernel-tune kernel-weaken (settings of the kernel: abi/config.toml)
//                                    kernel-console initrd seal unseal
//                                    With lines, irq-control gives no message interrupts. The clock is everybody's.
//                                    Also the words of permissions.h: file_read(PATH) hw_disk sys_reboot ...
//   match = pci:1af4:1042, pci-class:01:00       drivers only: devices it is started for (hexadecimal)
//   restart = on-failure             always on-failure never
//   backoff = 10ms..5s               wait before a restart: the first time .. at most; us ms s m
//   max-restarts = 10/60s            more than 10 within 60 s and it is given up
//   heartbeat = 2s                   or off
//   priority = normal                real-time high normal low idle
//   state = 64K                      memory kept for it across restarts; bytes, K, M
//   uid = 1000                       labels of its process, for the policies of services; none if not given
//   gid = 100
//
// An error costs only the service it stands in, and those that need it: they get a `failed_reason` and are left out of
// start_order(). Everything else stays usable. Names are 1..31 of a-z 0-9 - _ .
//
// Bounds       kMaxConfigBytes of text, kMaxServices, kMaxListItems per list, kMaxConfigErrors reported.
// Lifetime     all string_views point into the text given to parse_config(), which must outlive the Config.
// Costs        O(text + services^2). Memory: some 3 KiB per service.
// See          config_test.cc, tests/fuzz/config_fuzz.cc
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "base/inplace_vector.h"
#include "base/types.h"
#include "user/runtime/permit.h"

namespace keel::manager {

inline constexpr usize kMaxConfigBytes = 256 * 1024;
inline constexpr usize kMaxServices = 64;
inline constexpr usize kMaxListItems = 16;
inline constexpr usize kMaxConfigErrors = 64;
inline constexpr usize kMaxServiceNameBytes = 31;
inline constexpr u64 kMaxStateBytes = u64{64} << 20;

// A short sentence; longer ones are cut off.
struct Sentence {
  std::array<char, 144> bytes{};
  u8 length = 0;
  std::string_view view() const { return {bytes.data(), length}; }
};

struct ConfigError {
  u32 line = 0;  // from 1; 0: the file as a whole
  Sentence text;
};

template <class T>
using ConfigList = InplaceVector<T, kMaxListItems>;

enum class RestartPolicy : u8 { always, on_failure, never };
enum class Priority : u8 { real_time, high, normal, low, idle };
enum class CapabilityKind : u8 {
  irq_control,
  io_ports,
  kernel_log,
  physical_memory,
  acpi,
  reboot,
  kernel_info,
  kernel_trace,
  kernel_audit,
  kernel_tune,
  kernel_weaken,
  kernel_console,
  initrd,
  seal,
  unseal
};

struct CapabilityWish {
  CapabilityKind kind = CapabilityKind::kernel_info;
  bool whole = true;  // no range was given
  u16 first = 0;      // of ports or interrupt lines; both inclusive
  u16 last = 0;
  u64 scope() const { return whole ? 0 : first | (u64{last} - first + 1) << 32; }
};

struct DeviceMatch {
  enum class Kind : u8 { pci_id, pci_class };
  Kind kind = Kind::pci_id;
  u16 vendor = 0;  // pci_id
  u16 device = 0;
  u8 class_code = 0;  // pci_class
  u8 subclass = 0;
};

struct Service {
  std::string_view name;
  bool is_driver = false;
  u32 line = 0;  // of its section header
  std::string_view exec;
  ConfigList<std::string_view> args;
  ConfigList<std::string_view> needs;
  ConfigList<std::string_view> provides;
  ConfigList<std::string_view> uses;
  ConfigList<CapabilityWish> capabilities;
  ConfigList<std::string_view> files;  // what its session of the vfs reaches; none: `uses` decides
  ConfigList<DeviceMatch> match;
  RestartPolicy restart = RestartPolicy::on_failure;
  u64 backoff_first_ns = 10'000'000;
  u64 backoff_max_ns = 5'000'000'000;
  u32 max_restarts = 10;
  u64 restart_window_ns = 60'000'000'000;
  u64 heartbeat_ns = 0;  // 0: off
  Priority priority = Priority::normal;
  u64 state_bytes = 0;
  u32 uid = kNoLabel;
  u32 gid = kNoLabel;

  Sentence failed_reason;  // empty: usable
  bool failed() const { return failed_reason.length != 0; }
};

struct Config {
  std::vector<Service> services;    // in the order of the text; a second one of the same name is failed
  std::vector<ConfigError> errors;  // in the order of the text, then dependencies
  bool more_errors = false;         // some were not recorded

  // The first service of that name, or null.
  const Service* find(std::string_view name) const;
  // Indices into `services` of all usable services and drivers, each behind what it needs; otherwise as in the text.
  InplaceVector<u16, kMaxServices> start_order() const;
};

Config parse_config(std::string_view text);

}  // namespace keel::manager
