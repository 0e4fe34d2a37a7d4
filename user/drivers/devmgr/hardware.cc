#include "user/drivers/devmgr/hardware.h"

#include <cstring>

#include "user/drivers/mmio.h"
#include "user/runtime/stubs.h"

namespace keel::devmgr {
namespace {

constexpr u64 kReaderPages = 64;
constexpr u16 kFirstBar = 0x10;
constexpr u16 kEndOfBars = kFirstBar + 4 * pci::kBars;
constexpr u64 kBusBytes = u64{1} << 20;
constexpr u64 kMaxPage = u64{1} << 32;

}  // namespace

Result<Cap> physical_range(CapIndex physical, u64 address, u64 bytes, Rights rights) {
  u64 end = 0;
  if (bytes == 0 || !checked_add(address, bytes + kPageSize - 1, &end)) return Status::out_of_range;
  const u64 first = address / kPageSize;
  const u64 pages = end / kPageSize - first;
  if (first >= kMaxPage || pages >= kMaxPage) return Status::out_of_range;
  return derive(physical, rights, first | pages << 32);
}

Result<PhysicalWindow> PhysicalWindow::map(CapIndex physical, u64 address, u64 bytes, Access access) {
  const u64 first = align_down(address, kPageSize);
  const u64 pages = (align_up(address + bytes, kPageSize) - first) / kPageSize;
  Result<PhysicalWindow> window{std::in_place};
  window->mapping_ = TRY(Mapping::map(physical, access, first / kPageSize, pages));
  window->lead_ = address - first;
  return window;
}

Result<void> PhysicalMemory::read(PhysAddr address, std::span<std::byte> out) {
  u64 end = 0;
  if (!checked_add(address.value, out.size() + kReaderPages * kPageSize, &end)) return Status::bad_address;
  if (address.value < from_ || address.value + out.size() > from_ + window_.size()) {
    const u64 first = align_down(address.value, kPageSize);
    u64 pages = (align_up(address.value + out.size(), kPageSize) - first) / kPageSize;
    if (pages < kReaderPages) pages = kReaderPages;
    window_ = TRY(Mapping::map(physical_, Access::read, first / kPageSize, pages));
    from_ = first;
  }
  std::memcpy(out.data(), window_.data() + (address.value - from_), out.size());
  return {};
}

std::byte* Ecam::at(pci::Address address) {
  if (address.bus < segment_.first_bus || address.bus > segment_.last_bus) return nullptr;
  Mapping& bus = buses_[address.bus];
  if (!bus) {
    const u64 start = segment_.address.value + pci::Address{.bus = address.bus}.ecam_offset();
    Result<Mapping> mapped = Mapping::map(physical_, Access::read_write, start / kPageSize, kBusBytes / kPageSize);
    if (!mapped.has_value()) return nullptr;
    bus = std::move(*mapped);
  }
  return bus.data() + (address.ecam_offset() & (kBusBytes - 1));
}

u32 Ecam::read(pci::Address address, u32 offset, u32 width) {
  const std::byte* base = at(address);
  if (base == nullptr) return ~u32{0};
  switch (width) {
    case 1:
      return mmio_read<u8>(base, offset);
    case 2:
      return mmio_read<u16>(base, offset);
    default:
      return mmio_read<u32>(base, offset);
  }
}

void Ecam::write(pci::Address address, u32 offset, u32 width, u32 value) {
  std::byte* base = at(address);
  if (base == nullptr) return;
  switch (width) {
    case 1:
      return mmio_write(base, offset, static_cast<u8>(value));
    case 2:
      return mmio_write(base, offset, static_cast<u16>(value));
    default:
      return mmio_write(base, offset, value);
  }
}

u32 Ecam::read32(pci::Address address, u16 offset) {
  if (address != sizing_) {
    sizing_ = address;
    asked_ = {};
    masks_ = {};
  }
  const bool is_bar = offset >= kFirstBar && offset < kEndOfBars;
  const u32 bar = is_bar ? (offset - kFirstBar) / 4u : 0;
  if (const FunctionRecord* record = find(address); record != nullptr && is_bar && asked_[bar])
    return record->masks[bar];
  const u32 value = read(address, offset, 4);
  if (is_bar && asked_[bar]) masks_[bar] = value;
  return value;
}

void Ecam::write32(pci::Address address, u16 offset, u32 value) {
  if (offset >= kFirstBar && offset < kEndOfBars) asked_[(offset - kFirstBar) / 4u] = value == ~u32{0};
  if (find(address) == nullptr) write(address, offset, 4, value);
}

FunctionRecord* Ecam::find(pci::Address address) {
  const u32 key = key_of(address);
  for (FunctionRecord& r : state_.functions) {
    // Another device in its place (it was unplugged): what is recorded says nothing about it.
    if (r.key == key) return r.ids == read(address, 0, 4) ? &r : nullptr;
  }
  return nullptr;
}

FunctionRecord* Ecam::record_of(pci::Address address) {
  if (FunctionRecord* found = find(address)) return found;
  const u32 key = key_of(address);
  FunctionRecord* place = nullptr;
  for (FunctionRecord& r : state_.functions) {
    if (r.key == key) {
      place = &r;
      break;
    }
    if (r.key == 0 && place == nullptr) place = &r;
  }
  if (place == nullptr) return nullptr;
  *place = FunctionRecord{.key = 0, .ids = read(address, 0, 4)};
  place->key = key;
  return place;
}

void Ecam::remember(const pci::Function& function) {
  if (find(function.address) != nullptr || function.address != sizing_) return;
  FunctionRecord* record = record_of(function.address);
  if (record == nullptr) return;
  for (usize i = 0; i < pci::kBars; ++i) record->masks[i] = masks_[i];
}

}  // namespace keel::devmgr
