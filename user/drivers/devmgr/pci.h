// PCI: finds the functions behind a host bridge and describes them. Pure logic over an abstract configuration space.
//
// enumerate() follows the bus numbers that firmware gave to bridges and visits each bus once, so wrong numbers cannot
// make it loop. Per function it sizes the BARs (with decoding off meanwhile, and everything written back afterwards)
// and walks the capability list. What a device says is not trusted: an MSI-X table or a virtio structure that does not
// lie inside its BAR is left out, and `problems` says so.
//
// Writes       the command register and the BARs during sizing only; a function's driver must not run meanwhile.
// Costs        at most 256 buses * 256 functions; about 40 accesses per function, 4 per capability (at most 48).
// See          PCI Local Bus Specification 3.0, 6.1-6.2 and 6.8; PCI Express Base Specification 5.0, 7.5;
//              Virtio 1.2, 4.1.4; pci_test.cc; tests/fuzz/pci_fuzz.cc
#pragma once

#include <array>
#include <compare>
#include <optional>

#include "base/inplace_vector.h"
#include "base/types.h"

namespace keel::pci {

struct Address {
  u8 bus = 0;
  u8 device = 0;    // 0..31
  u8 function = 0;  // 0..7
  constexpr auto operator<=>(const Address&) const = default;
  // Offset of the function inside an ECAM window that begins at bus 0.
  constexpr u64 ecam_offset() const { return u64{bus} << 20 | u64{device} << 15 | u64{function} << 12; }
};

// Configuration space of one segment. `offset` is a multiple of 4 below 256. Absent functions read as all ones.
class ConfigSpace {
 public:
  virtual u32 read32(Address address, u16 offset) = 0;
  virtual void write32(Address address, u16 offset, u32 value) = 0;

 protected:
  ~ConfigSpace() = default;
};

inline constexpr usize kBars = 6;
inline constexpr usize kMaxCapabilities = 48;  // as many as fit behind the header
inline constexpr usize kMaxVirtioRegions = 16;

struct Bar {
  enum class Kind : u8 { none, io, memory };
  Kind kind = Kind::none;
  bool is_64_bit = false;  // takes the next BAR's place too, which is then `none`
  bool prefetchable = false;
  u64 address = 0;  // 0: firmware has not assigned it
  u64 size = 0;     // bytes, a power of two; 0 for none
  bool contains(u64 offset, u64 length) const {
    return kind != Kind::none && offset <= size && length <= size - offset;
  }
};

struct Capability {
  u8 id = 0;
  u8 offset = 0;
};
inline constexpr u8 kCapabilityPowerManagement = 0x01;
inline constexpr u8 kCapabilityMsi = 0x05;
inline constexpr u8 kCapabilityVendor = 0x09;
inline constexpr u8 kCapabilityExpress = 0x10;
inline constexpr u8 kCapabilityMsix = 0x11;

struct Msix {
  u8 offset = 0;     // of the capability; message control is the 16-bit word at offset + 2
  u16 vectors = 0;   // 1..2048
  u8 table_bar = 0;  // a memory BAR
  u32 table_offset = 0;
  u8 pending_bar = 0;
  u32 pending_offset = 0;
};

struct Msi {
  u8 offset = 0;
  u8 vectors = 0;  // that the device can use: 1, 2, .. 32
  bool is_64_bit = false;
  bool maskable = false;
};

// A structure of a virtio device.
struct VirtioRegion {
  enum class Type : u8 { common = 1, notify = 2, isr = 3, device = 4, pci_access = 5, shared_memory = 8 };
  Type type = Type::common;
  u8 offset = 0;  // of the capability
  u8 bar = 0;
  u8 id = 0;  // tells several of one type apart
  u64 bar_offset = 0;
  u64 length = 0;
  u32 notify_multiplier = 0;  // notify only
};

struct Function {
  Address address;
  u16 vendor = 0;
  u16 device = 0;
  u16 subsystem_vendor = 0;  // 0 for bridges
  u16 subsystem = 0;
  u8 class_code = 0;
  u8 subclass = 0;
  u8 interface = 0;
  u8 revision = 0;
  u8 header_type = 0;     // 0 device, 1 bridge, 2 CardBus
  u8 interrupt_line = 0;  // as firmware set it
  u8 interrupt_pin = 0;   // 0 none, 1..4 for A..D
  u8 secondary_bus = 0;   // bridges only
  u8 subordinate_bus = 0;
  std::array<Bar, kBars> bars{};
  InplaceVector<Capability, kMaxCapabilities> capabilities;
  std::optional<Msi> msi;
  std::optional<Msix> msix;
  InplaceVector<VirtioRegion, kMaxVirtioRegions> virtio;  // only for the vendor that virtio devices have
  InplaceVector<const char*, 8> problems;                 // static texts, for the log

  bool is_bridge() const { return header_type == 1; }
  // The first structure of that type, or null. Virtio asks drivers to take the first they can use.
  const VirtioRegion* find_virtio(VirtioRegion::Type type) const;
};

class Visitor {
 public:
  virtual void function(const Function& function) = 0;

 protected:
  ~Visitor() = default;
};

// Visits all functions of buses [first_bus, last_bus] that are reachable from first_bus, bridges before what is behind.
void enumerate(ConfigSpace& config, u8 first_bus, u8 last_bus, Visitor& visitor);

// Describes one function; nullopt if there is none. Sizes its BARs: see above.
std::optional<Function> probe(ConfigSpace& config, Address address);

}  // namespace keel::pci
