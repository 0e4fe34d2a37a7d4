// Table: what the service manager knows about running services, in a memory object that survives the manager.
//
// Invariants   I1 a record whose intent is `none` is true: its capabilities are held, its state is what it says.
//              I2 a record whose intent is `starting` names everything made so far except perhaps the last thing. A
//                 successor ends what it names, and deletes every capability that no record names (sweep in run.cc).
// Order        intent is written before, commit after: the manager may die between any two stores. It is one thread, so
//              program order is all that is needed; each commit is followed by a compiler barrier.
// Trust        only managers write here. A wrong magic or size starts afresh.
#pragma once

#include <atomic>
#include <span>
#include <string_view>

#include "abi/types.h"
#include "base/result.h"

namespace keel::manager {

inline constexpr usize kMaxRecords = 96;
inline constexpr usize kMaxPorts = 4;  // that one service provides

enum class ServiceState : u32 {
  waiting = 0,   // for what it needs
  starting = 1,  // its process runs and has not reported yet
  ready = 2,
  restarting = 3,  // dead, waits for its time
  stopped = 4,     // ended as its policy allows
  failed = 5,      // given up
  absent = 6,      // a driver without a device
};
inline constexpr u32 kServiceStates = 7;
std::string_view state_name(ServiceState state);

enum class Intent : u32 { none = 0, starting = 1 };

struct Record {
  char name[32];
  char config[32];  // name of the section in services.conf
  ServiceState state;
  Intent intent;
  u64 pid;
  // Capabilities of the manager; 0: none.
  u64 process;
  u64 group;
  u64 events;  // notification
  u64 memory;  // its state object
  u64 device_port;
  u64 device_domain;     // kept for the device manager, which may die: docs/subsystems/devices.md
  u64 ports[kMaxPorts];  // in the order of `provides`
  u64 device_id;         // of a driver; 0: none
  u64 restarts;          // since boot
  u64 ready_ns;          // when the present instance was ready
  u64 window_start_ns;
  u32 window_restarts;
  u32 reserved;
  u64 backoff_ns;   // of the next restart
  u64 start_at_ns;  // restarting: not before
  char reason[96];
};

struct TableHeader {
  u64 magic;
  u32 version;
  u32 count;
  u64 manager_port;
  u64 manager_starts;
  u64 summary_printed;
};

class Table {
 public:
  // Over the memory of the state object. Adopts what is there, or begins an empty table.
  static Result<Table> open(std::span<std::byte> memory);

  bool adopted() const { return adopted_; }
  TableHeader& header() { return *header_; }
  std::span<Record> records() { return {records_, header_->count}; }
  Record* find(std::string_view name);
  // Null: full.
  Record* add(std::string_view name, std::string_view config);
  // Whether a record or the header names this capability.
  bool names(u64 capability);

 private:
  TableHeader* header_ = nullptr;
  Record* records_ = nullptr;
  bool adopted_ = false;
};

// Makes everything before it happen before everything after it, as a successor will see it.
inline void commit() { std::atomic_signal_fence(std::memory_order_seq_cst); }

std::string_view text_of(std::span<const char> field);
void set_text(std::span<char> field, std::string_view text);

}  // namespace keel::manager
