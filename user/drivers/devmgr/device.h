// Device: one PCI function as the device manager holds it. What its driver gets is derived from capabilities kept here,
// so that stop() can take all of it back.
//
// Invariants   I1 the domain's pages are released only after bus mastering was read back as off and, where the device
//                 offers a reset, the reset was seen to be done.
//              I2 no page with the MSI-X table, and no page with registers of another device, is given to a driver.
// See          PCI Local Bus 3.0, 6.8.2 (MSI-X); PCI Express Base 5.0, 6.6.2 (function level reset);
// Virtio 1.2, 4.1.4.3
#pragma once

#include <array>
#include <memory>
#include <span>

#include "idl/device.h"
#include "user/drivers/devmgr/hardware.h"

namespace keel::devmgr {

// Where a function's interrupt line goes when it has no messages.
struct LineRoute {
  u32 gsi = 0;
  bool active_low = true;
};

// What all devices share.
struct Machine {
  CapIndex physical = kNoCapability;
  CapIndex interrupts = kNoCapability;  // interrupt control
  CapIndex dma_control = kNoCapability;
  CapIndex ports = kNoCapability;
  std::array<LineRoute, 16> lines;  // by the number in the interrupt-line register
};

class Device {
 public:
  static constexpr u32 kMaxInterrupts = 32;

  Device(Machine& machine, Ecam& config, const pci::Function& function)
      : machine_(machine), config_(config), function_(function) {}

  static u64 id_of(pci::Address a) { return (u64{a.bus} << 8 | u64{a.device} << 3 | a.function) + 1; }
  u64 id() const { return id_of(function_.address); }
  const pci::Function& function() const { return function_; }
  DeviceInfo info() const;
  bool in_use() const;

  // For the first driver: stops what firmware left running, makes the domain, marks the device as in use.
  Result<void> take();
  Result<GivenCap> domain_for_keeper();
  void adopt(Cap domain);
  Result<void> stop();

  // `all`: to see whether other devices have registers on the same pages.
  Result<DeviceBarReply> bar(u32 index, std::span<const std::unique_ptr<Device>> all);
  Result<DeviceInterruptReply> interrupt(u32 index);
  Result<GivenCap> domain_for_driver();
  Result<u32> config_read(u32 offset, u32 width);
  Result<void> set_bus_master(bool enabled);
  // Turns bus mastering off, if nobody drives the device.
  void hush();

 private:
  struct BarRange {
    u64 first_page = 0;  // physical
    u64 pages = 0;
  };

  u32 command() { return config_.read(function_.address, 4, 2); }
  void set_command(u32 clear, u32 set);
  BarRange pages_of(const pci::Bar& bar) const;
  Result<DeviceInterruptReply> message_interrupt(u32 index);
  Result<DeviceInterruptReply> line_interrupt();
  Result<std::byte*> table_entry(u32 index);
  void set_msix_control(u32 clear, u32 set);
  void mask_messages();
  Result<void> reset_function();
  Result<void> reset_virtio(const pci::VirtioRegion& common);
  Result<void> reset_by_level(u8 express);
  void take_back();

  Machine& machine_;
  Ecam& config_;
  pci::Function function_;
  std::array<Cap, pci::kBars> bars_;
  std::array<Cap, kMaxInterrupts> interrupts_;  // of messages; [0] also of the line
  Cap domain_;
  Cap drivers_domain_;  // a child, the parent of what drivers got: the keeper's copy is not to be revoked with theirs
  PhysicalWindow msix_table_;
  bool has_table_ = false;
};

}  // namespace keel::devmgr
