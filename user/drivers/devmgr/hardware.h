// The machine's physical memory, I/O ports and PCI configuration space, through the capabilities of the device manager.
#pragma once

#include <array>
#include <span>

#include "base/acpi.h"
#include "user/drivers/devmgr/acpi.h"
#include "user/drivers/devmgr/pci.h"
#include "user/runtime/memory.h"

namespace keel::devmgr {

// Pages of physical memory that cover [address, address + bytes), as a capability of their own under `physical`.
Result<Cap> physical_range(CapIndex physical, u64 address, u64 bytes, Rights rights);

// A mapped range of physical addresses; data() points at the address asked for.
class PhysicalWindow {
 public:
  static Result<PhysicalWindow> map(CapIndex physical, u64 address, u64 bytes, Access access);
  std::byte* data() const { return mapping_.data() + lead_; }

 private:
  Mapping mapping_;
  u64 lead_ = 0;
};

class PhysicalMemory final : public acpi::PhysicalReader {
 public:
  explicit PhysicalMemory(CapIndex physical) : physical_(physical) {}
  Result<void> read(PhysAddr address, std::span<std::byte> out) override;

 private:
  CapIndex physical_;
  Mapping window_;  // tables lie together: the last range is kept
  u64 from_ = 0;
};

// What must survive the device manager: which functions there were, how large their BARs are (to ask a running device
// would disturb it), and which are in use.
struct FunctionRecord {
  u32 key = 0;  // Address, + 1; 0: free
  u32 ids = 0;  // vendor and device
  u32 in_use = 0;
  u32 masks[pci::kBars] = {};  // what a BAR answers to all ones
};
struct SavedState {
  static constexpr u64 kMagic = 0x314d5645444c4b45;  // "EKLDEVM1"
  u64 magic;
  u64 starts;
  FunctionRecord functions[256];
};

// Configuration space of bus `first_bus` and on. Functions with a record are only read: writes of the enumeration stop
// here, and the sizes of their BARs come from the record.
class Ecam final : public pci::ConfigSpace {
 public:
  Ecam(CapIndex physical, const acpi::EcamSegment& segment, SavedState& state)
      : physical_(physical), segment_(segment), state_(state) {}

  u32 read32(pci::Address address, u16 offset) override;
  void write32(pci::Address address, u16 offset, u32 value) override;

  // Past the records. `offset` below 4096.
  u32 read(pci::Address address, u32 offset, u32 width);
  void write(pci::Address address, u32 offset, u32 width, u32 value);

  // The function's record; made, if there is none and room is. Null: no room.
  FunctionRecord* record_of(pci::Address address);
  // Ends the enumeration: functions that it found get records.
  void remember(const pci::Function& function);

 private:
  static u32 key_of(pci::Address a) { return (u32{a.bus} << 8 | u32{a.device} << 3 | a.function) + 1; }
  std::byte* at(pci::Address address);
  FunctionRecord* find(pci::Address address);

  CapIndex physical_;
  acpi::EcamSegment segment_;
  SavedState& state_;
  std::array<Mapping, 256> buses_;  // mapped when first touched
  // Of the function that is being sized now.
  pci::Address sizing_{};
  std::array<bool, pci::kBars> asked_{};
  std::array<u32, pci::kBars> masks_{};
};

}  // namespace keel::devmgr
