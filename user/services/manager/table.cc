#include "user/services/manager/table.h"

#include <cstring>

namespace keel::manager {
namespace {

constexpr u64 kMagic = 0x656c6261746c656b;
constexpr u32 kVersion = 2;

bool is_sound(const TableHeader& header, std::span<const Record> records) {
  if (header.magic != kMagic || header.version != kVersion || header.count > kMaxRecords) return false;
  for (const Record& r : records.first(header.count)) {
    if (static_cast<u32>(r.state) >= kServiceStates || static_cast<u32>(r.intent) > 1) return false;
  }
  return true;
}

}  // namespace

std::string_view state_name(ServiceState state) {
  switch (state) {
    case ServiceState::waiting:
      return "waiting";
    case ServiceState::starting:
      return "starting";
    case ServiceState::ready:
      return "ready";
    case ServiceState::restarting:
      return "restarting";
    case ServiceState::stopped:
      return "stopped";
    case ServiceState::failed:
      return "failed";
    case ServiceState::absent:
      return "absent";
  }
  return "unknown";
}

std::string_view text_of(std::span<const char> field) {
  usize size = 0;
  while (size < field.size() && field[size] != 0) ++size;
  return {field.data(), size};
}

void set_text(std::span<char> field, std::string_view text) {
  const usize size = text.size() < field.size() ? text.size() : field.size();
  std::memset(field.data(), 0, field.size());
  std::memcpy(field.data(), text.data(), size);
}

Result<Table> Table::open(std::span<std::byte> memory) {
  if (memory.size() < sizeof(TableHeader) + kMaxRecords * sizeof(Record)) return Status::too_big;
  Table table;
  table.header_ = reinterpret_cast<TableHeader*>(memory.data());
  table.records_ = reinterpret_cast<Record*>(table.header_ + 1);
  table.adopted_ = is_sound(*table.header_, {table.records_, kMaxRecords});
  if (!table.adopted_) {
    std::memset(memory.data(), 0, memory.size());
    table.header_->version = kVersion;
    commit();
    table.header_->magic = kMagic;
  }
  return table;
}

Record* Table::find(std::string_view name) {
  for (Record& r : records()) {
    if (text_of(r.name) == name) return &r;
  }
  return nullptr;
}

Record* Table::add(std::string_view name, std::string_view config) {
  if (header_->count == kMaxRecords) return nullptr;
  Record& r = records_[header_->count];
  std::memset(&r, 0, sizeof r);
  set_text(r.name, name);
  set_text(r.config, config);
  commit();
  ++header_->count;
  return &r;
}

bool Table::names(u64 capability) {
  if (header_->manager_port == capability) return true;
  for (const Record& r : records()) {
    for (const u64 held : {r.process, r.group, r.events, r.memory, r.device_port, r.device_domain}) {
      if (held == capability) return true;
    }
    for (const u64 held : r.ports) {
      if (held == capability) return true;
    }
  }
  return false;
}

}  // namespace keel::manager
