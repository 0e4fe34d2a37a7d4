#include "user/drivers/devmgr/device.h"

#include "user/drivers/mmio.h"
#include "user/runtime/clock.h"
#include "user/runtime/print.h"
#include "user/runtime/stubs.h"

namespace keel::devmgr {
namespace {

// Configuration space.
constexpr u32 kCommand = 4, kFirstBar = 0x10;
constexpr u32 kMemoryDecode = 1 << 1, kBusMaster = 1 << 2, kNoLineInterrupts = 1 << 10;
constexpr u32 kMsixEnable = 1 << 15, kMsixMaskAll = 1 << 14;
constexpr u32 kExpressCapabilities = 4, kExpressControl = 8, kExpressStatus = 10;
constexpr u32 kCanResetFunction = 1 << 28, kResetFunction = 1 << 15, kTransactionsPending = 1 << 5;
constexpr u32 kConfigBytes = 4096;

// MSI-X table entries.
constexpr u64 kEntryBytes = 16, kEntryAddress = 0, kEntryData = 8, kEntryControl = 12;
constexpr u32 kEntryMasked = 1;

constexpr u64 kVirtioStatus = 0x14;  // device_status of the common configuration
constexpr u64 kResetPatience = 500 * kMillisecond;
constexpr u64 kPause = kMillisecond;

constexpr Rights kShare = rights::transfer | rights::derive | rights::inspect;
constexpr Rights kRegisters = kShare | rights::memory::read | rights::memory::write;

// Waits a little at a time; false: it took too long.
template <class Condition>
bool wait_for(Condition&& condition) {
  const Deadline deadline = after(kResetPatience);
  while (!condition()) {
    if (has_passed(deadline)) return false;
    sleep_until(after(kPause));
  }
  return true;
}

}  // namespace

DeviceInfo Device::info() const {
  const pci::Function& f = function_;
  return {.id = id(),
          .vendor = f.vendor,
          .device = f.device,
          .class_code = u32{f.class_code} << 16 | u32{f.subclass} << 8 | f.interface,
          .bus = f.address.bus,
          .slot = f.address.device,
          .function = f.address.function,
          .revision = f.revision};
}

bool Device::in_use() const {
  const FunctionRecord* record = config_.record_of(function_.address);
  return record != nullptr && record->in_use != 0;
}

void Device::set_command(u32 clear, u32 set) {
  // Two bytes: the upper half is the status register, whose bits are cleared by writing ones.
  config_.write(function_.address, kCommand, 2, (command() & ~clear) | set);
}

void Device::hush() {
  if (function_.header_type == 0 && !in_use() && (command() & kBusMaster) != 0) set_command(kBusMaster, 0);
}

Result<void> Device::take() {
  FunctionRecord* record = config_.record_of(function_.address);
  if (record == nullptr) return Status::no_memory;
  if (record->in_use == 0) {
    TRY(stop());
    record->in_use = 1;
  }
  if (!domain_) domain_ = TRY(own(sys::dma_create(machine_.dma_control, self().group)));
  set_command(0, kMemoryDecode);
  return {};
}

Result<GivenCap> Device::domain_for_keeper() {
  return GivenCap(TRY(derive(domain_.get(), rights::common | rights::dma_domain::all)));
}

void Device::adopt(Cap domain) {
  if (!domain_) domain_ = std::move(domain);
  if (FunctionRecord* record = config_.record_of(function_.address)) record->in_use = 1;
}

// ---- what a driver gets --------------------------------------------------------------------------------------------

Device::BarRange Device::pages_of(const pci::Bar& bar) const {
  const u64 first = bar.address / kPageSize;
  return {first, (bar.address + bar.size + kPageSize - 1) / kPageSize - first};
}

Result<DeviceBarReply> Device::bar(u32 index, std::span<const std::unique_ptr<Device>> all) {
  if (index >= pci::kBars) return Status::not_found;
  const pci::Bar& bar = function_.bars[index];
  if (bar.kind == pci::Bar::Kind::none || bar.address == 0) return Status::not_found;
  if (bar.kind == pci::Bar::Kind::io) return Status::not_supported;
  BarRange range = pages_of(bar);
  u64 bytes = bar.size;
  if (function_.msix.has_value() && function_.msix->table_bar == index) {
    const u64 table_page = (bar.address + function_.msix->table_offset) / kPageSize;
    if (table_page <= range.first_page) return Status::not_supported;
    range.pages = table_page - range.first_page;
    bytes = table_page * kPageSize - bar.address;
  }
  for (const std::unique_ptr<Device>& other : all) {
    for (usize i = 0; i < pci::kBars; ++i) {
      const pci::Bar& its = other->function_.bars[i];
      if (its.kind != pci::Bar::Kind::memory || its.address == 0 || (other.get() == this && i == index)) continue;
      const BarRange theirs = pages_of(its);
      const bool apart =
          theirs.first_page >= range.first_page + range.pages || range.first_page >= theirs.first_page + theirs.pages;
      if (!apart) return Status::access_denied;  // I2; also a BAR of its own, which might hold the table
    }
  }
  if (!bars_[index]) {
    bars_[index] = TRY(physical_range(machine_.physical, range.first_page * kPageSize, range.pages * kPageSize,
                                      kRegisters | rights::revoke));
  }
  return DeviceBarReply{
      .memory = TRY(derive(bars_[index].get(), kRegisters)), .offset = bar.address % kPageSize, .bytes = bytes};
}

Result<DeviceInterruptReply> Device::interrupt(u32 index) {
  if (function_.msix.has_value()) return message_interrupt(index);
  if (index != 0) return Status::not_found;
  return line_interrupt();
}

Result<std::byte*> Device::table_entry(u32 index) {
  const pci::Msix& msix = *function_.msix;
  if (!has_table_) {
    const u64 address = function_.bars[msix.table_bar].address;
    if (address == 0) return Status::not_found;
    msix_table_ = TRY(PhysicalWindow::map(machine_.physical, address + msix.table_offset,
                                          u64{msix.vectors} * kEntryBytes, Access::read_write));
    has_table_ = true;
  }
  return msix_table_.data() + index * kEntryBytes;
}

void Device::set_msix_control(u32 clear, u32 set) {
  const u32 at = function_.msix->offset + 2u;
  config_.write(function_.address, at, 2, (config_.read(function_.address, at, 2) & ~clear) | set);
}

Result<DeviceInterruptReply> Device::message_interrupt(u32 index) {
  if (index >= function_.msix->vectors || index >= kMaxInterrupts) return Status::not_found;
  constexpr Rights kGiven = kShare | rights::interrupt::bind | rights::interrupt::ack;
  if (!interrupts_[index]) {
    std::byte* entry = TRY(table_entry(index));
    const sys::InterruptCreateMessageResult made =
        TRY(sys::interrupt_create_message(machine_.interrupts, self().group));
    interrupts_[index] = Cap(made.interrupt);
    mmio_write<u32>(entry, kEntryControl, kEntryMasked);
    mmio_write<u32>(entry, kEntryAddress, static_cast<u32>(made.address));
    mmio_write<u32>(entry, kEntryAddress + 4, static_cast<u32>(made.address >> 32));
    mmio_write<u32>(entry, kEntryData, static_cast<u32>(made.data));
    mmio_write<u32>(entry, kEntryControl, 0);
    set_command(0, kNoLineInterrupts);
    set_msix_control(kMsixMaskAll, kMsixEnable);
  }
  return DeviceInterruptReply{.interrupt = TRY(derive(interrupts_[index].get(), kGiven)), .level = false};
}

Result<DeviceInterruptReply> Device::line_interrupt() {
  if (function_.interrupt_pin == 0 || function_.interrupt_line >= machine_.lines.size()) return Status::not_found;
  constexpr Rights kGiven = kShare | rights::interrupt::bind | rights::interrupt::ack;
  constexpr u64 kLevel = sys::interrupt_create_flags::level, kLow = sys::interrupt_create_flags::active_low;
  if (!interrupts_[0]) {
    const LineRoute& route = machine_.lines[function_.interrupt_line];
    interrupts_[0] = TRY(own(
        sys::interrupt_create(machine_.interrupts, self().group, route.gsi, kLevel | (route.active_low ? kLow : 0))));
    set_command(kNoLineInterrupts, 0);
  }
  return DeviceInterruptReply{.interrupt = TRY(derive(interrupts_[0].get(), kGiven)), .level = true};
}

Result<GivenCap> Device::domain_for_driver() {
  if (!domain_) return Status::bad_state;
  constexpr Rights kGiven = kShare | rights::dma_domain::map;
  if (!drivers_domain_) drivers_domain_ = TRY(derive(domain_.get(), kGiven | rights::revoke));
  return GivenCap(TRY(derive(drivers_domain_.get(), kGiven)));
}

Result<u32> Device::config_read(u32 offset, u32 width) {
  if (width != 1 && width != 2 && width != 4) return Status::invalid_argument;
  if (offset >= kConfigBytes || !is_aligned(offset, width)) return Status::out_of_range;
  return config_.read(function_.address, offset, width);
}

Result<void> Device::set_bus_master(bool enabled) {
  if (!domain_ && enabled) return Status::bad_state;
  set_command(enabled ? 0 : kBusMaster, enabled ? kBusMaster : 0);
  return {};
}

// ---- stopping ------------------------------------------------------------------------------------------------------

Result<void> Device::stop() {
  set_command(kBusMaster, 0);
  if ((command() & kBusMaster) != 0) return Status::bad_state;
  mask_messages();
  if (const Result<void> reset = reset_function(); !reset.has_value()) {
    log_error("device {:02x}:{:02x}.{}: cannot be reset: {}", function_.address.bus, function_.address.device,
              function_.address.function, reset.error());
    return Status::bad_state;
  }
  if (domain_) TRY(sys::dma_release(domain_.get()));  // I1
  take_back();
  return {};
}

void Device::mask_messages() {
  if (!function_.msix.has_value()) return set_command(0, kNoLineInterrupts);
  set_msix_control(0, kMsixMaskAll);
  // All of them: a predecessor of ours may have set up some that we do not know.
  for (u32 i = 0; i < function_.msix->vectors; ++i) {
    const Result<std::byte*> entry = table_entry(i);
    if (entry.has_value()) mmio_write<u32>(*entry, kEntryControl, kEntryMasked);
  }
  set_msix_control(kMsixEnable, 0);
}

Result<void> Device::reset_function() {
  if (const pci::VirtioRegion* common = function_.find_virtio(pci::VirtioRegion::Type::common))
    return reset_virtio(*common);
  for (const pci::Capability& c : function_.capabilities) {
    if (c.id != pci::kCapabilityExpress) continue;
    if ((config_.read(function_.address, c.offset + kExpressCapabilities, 4) & kCanResetFunction) != 0) {
      return reset_by_level(c.offset);
    }
  }
  return {};  // it offers none: without bus mastering it reaches no memory
}

Result<void> Device::reset_virtio(const pci::VirtioRegion& common) {
  const pci::Bar& bar = function_.bars[common.bar];
  if (bar.kind != pci::Bar::Kind::memory || bar.address == 0 || common.length <= kVirtioStatus)
    return Status::not_found;
  set_command(0, kMemoryDecode);
  const PhysicalWindow registers =
      TRY(PhysicalWindow::map(machine_.physical, bar.address + common.bar_offset, common.length, Access::read_write));
  mmio_write<u8>(registers.data(), kVirtioStatus, 0);
  if (!wait_for([&] { return mmio_read<u8>(registers.data(), kVirtioStatus) == 0; })) return Status::timed_out;
  return {};
}

Result<void> Device::reset_by_level(u8 express) {
  const pci::Address at = function_.address;
  // What we are to wait for first; a device that never finishes is reset all the same.
  static_cast<void>(
      wait_for([&] { return (config_.read(at, express + kExpressStatus, 2) & kTransactionsPending) == 0; }));
  u32 saved[pci::kBars];
  for (u32 i = 0; i < pci::kBars; ++i) saved[i] = config_.read(at, kFirstBar + 4 * i, 4);
  const u32 saved_command = command();
  const u32 saved_line = config_.read(at, 0x3c, 1);
  const u32 control = config_.read(at, express + kExpressControl, 2);
  config_.write(at, express + kExpressControl, 2, control | kResetFunction);
  sleep_until(after(100 * kMillisecond));
  if (!wait_for([&] { return (config_.read(at, 0, 4) & 0xffff) == function_.vendor; })) return Status::timed_out;
  for (u32 i = 0; i < pci::kBars; ++i) config_.write(at, kFirstBar + 4 * i, 4, saved[i]);
  config_.write(at, 0x3c, 1, saved_line);
  config_.write(at, kCommand, 2, saved_command & ~kBusMaster);
  return {};
}

// The driver that had them is dead, or never was.
void Device::take_back() {
  // Without the right to revoke, its death has taken them, unless it passed them on.
  for (Cap& bar : bars_) {
    if (bar) static_cast<void>(sys::cap_revoke(bar.get()));
  }
  for (Cap& interrupt : interrupts_) {
    if (interrupt) static_cast<void>(sys::cap_revoke(interrupt.get()));
    interrupt.reset();
  }
  if (drivers_domain_) static_cast<void>(sys::cap_revoke(drivers_domain_.get()));
}

}  // namespace keel::devmgr
