// Manager: starts services when what they need is there, watches them, starts them again by their policy.
//
// Badges       of the manager's own port: bits 0-15 the number of the caller's record + 1, bit 16 it may command others
//              (`uses manager`), bit 17 it may look up names (`uses names`). Of services' ports: the number of the
//              caller's record + 1; 0 is the manager. A badge is the same before and after a restart of either side.
// Waiting      The manager calls nobody but the device manager, and that with a deadline, from supervise(): so no
// service
//              can hold it up, and no call waits for itself.
// Restart      table.h says what survives the manager; adopt() takes it up.
#pragma once

#include <array>

#include "base/fixed.h"
#include "idl/device.h"
#include "idl/manager.h"
#include "idl/names.h"
#include "user/runtime/cpio.h"
#include "user/runtime/service_loop.h"
#include "user/runtime/spawn.h"
#include "user/services/manager/policy.h"

namespace keel::manager {

inline constexpr u64 kBadgeRecord = 0xffff;
inline constexpr u64 kBadgeControl = u64{1} << 16;
inline constexpr u64 kBadgeNames = u64{1} << 17;

// Exit statuses that the manager gives.
inline constexpr u64 kExitKilled = 137;
inline constexpr u64 kExitTimedOut = 138;

// What the manager was given that services may be given parts of.
struct Authority {
  CapIndex control, sealer, initrd, physical, irq, io, time;
  std::string_view rsdp;
};

class Manager {
 public:
  Manager(ServiceLoop& loop, Table& table, const Config& config, const CpioArchive& archive, const Authority& authority)
      : loop_(loop), table_(table), config_(config), archive_(archive), authority_(authority), changed_(loop) {}

  // Takes up what a predecessor left, makes records and ports for the rest, and starts supervising.
  void begin();

  Table& table() { return table_; }
  const Config& config() const { return config_; }
  const Service* service_of(const Record& record) const { return config_.find(text_of(record.config)); }
  // The record of the caller, or null.
  Record* caller(Session session);
  Record* find_pid(u64 pid);

  void report_ready(Record& record);
  void heartbeat(Record& record);
  // Its policy decides what follows.
  void kill(Record& record, u64 status);
  // Anew, with a fresh count of restarts.
  void restart(Record& record);
  Result<void> power(PowerAction action);

 private:
  // Of a record, for this run of the manager.
  struct Live {
    u64 started_ns = 0;
    u64 beat_ns = 0;
  };
  struct Grants;

  Live& live(const Record& record) { return live_[index_of(record)]; }
  u32 index_of(const Record& record) { return static_cast<u32>(&record - table_.records().data()); }

  void adopt();
  void create_records();
  Result<void> create_ports(Record& record, const Service& service);

  Task<void> supervise();
  void advance();
  bool advance_record(Record& record);
  bool break_circle();
  Deadline next_deadline();
  void check_heartbeat(Record& record);

  void reap();
  void bury(Record& record, u64 exit_status, u64 faults);
  void give_up(Record& record, std::string_view reason);

  void start(Record& record, const Service& service);
  Result<void> try_start(Record& record, const Service& service, const char** what);
  Result<void> prepare_driver(Record& record);
  void collect_grants(Record& record, const Service& service, Grants& grants);
  void grant_use(Record& record, std::string_view use, Grants& grants);
  void grant_wish(const CapabilityWish& wish, u32 ports_before, Grants& grants);

  DeviceManagerClient device_manager();
  void scan_devices();
  void add_device(const DeviceInfo& info);
  void tell_users(const Record& record);
  void print_summary();

  ServiceLoop& loop_;
  Table& table_;
  const Config& config_;
  const CpioArchive& archive_;
  const Authority authority_;
  Event changed_;
  std::array<Live, kMaxRecords> live_{};
  u32 death_bit_ = 0;
  bool deaths_ = false;   // somebody died since the last reap()
  bool scanned_ = false;  // the present device manager was asked for its devices
};

// What services and people ask the manager.
class ManagerService final : public ManagerServer {
 public:
  explicit ManagerService(Manager& manager) : manager_(manager) {}
  Result<ManagerListReply> list(Session session, u64 cursor) override;
  Result<void> kill(Session session, u64 pid) override;
  Result<GivenCap> inspect(Session session, u64 pid) override;
  Result<void> ready(Session session) override;
  void heartbeat(Session session) override;
  Result<GivenCap> state(Session session) override;
  Result<ManagerFileAccessReply> file_access(Session session, u64 service, u64 index) override;
  Result<void> restart(Session session, std::string_view name) override;
  Result<void> power(Session session, u32 action) override;

 private:
  Manager& manager_;
};

class NamesService final : public NamesServer {
 public:
  explicit NamesService(Manager& manager) : manager_(manager) {}
  Result<GivenCap> lookup(Session session, std::string_view name) override;
  Result<NamesListReply> list(Session session, u64 cursor) override;

 private:
  Manager& manager_;
};

}  // namespace keel::manager
