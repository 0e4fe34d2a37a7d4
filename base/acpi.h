// ACPI tables: finds, verifies and walks the static ones. Shared by the kernel (MADT, HPET, SRAT, SLIT) and the device
// manager.
//
// Firmware is not trusted to be sane: lengths, counts and checksums are verified before use, every walk is bounded by
// the length of its table, and no table is larger than kMaxTableBytes. Nothing is allocated or kept; a Table is only
// where one lies and how long it is.
//
// Errors       not_found; corrupt (signature, checksum, length); what the reader answered.
// Costs        find(): O(tables) header reads, then one pass over the table for its checksum.
// See          ACPI Specification 6.5, chapter 5.2; IA-PC HPET Specification 1.0a, 3.2.4; acpi_test.cc
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "base/result.h"
#include "base/types.h"

namespace keel::acpi {

// Access to physical memory.
class PhysicalReader {
 public:
  // Fills all of `out`, or fails if any of it is no readable memory.
  virtual Result<void> read(PhysAddr address, std::span<std::byte> out) = 0;

 protected:
  ~PhysicalReader() = default;
};

inline constexpr u32 kTableHeaderBytes = 36;
inline constexpr u32 kMaxTableBytes = 16 << 20;
inline constexpr usize kMaxTables = 256;

struct Table {
  std::array<char, 4> signature{};
  u8 revision = 0;
  u32 length = 0;  // bytes, with the header
  PhysAddr address;
};

// Reads fields of one verified table; what lies outside gives Status::corrupt.
class TableReader {
 public:
  TableReader(PhysicalReader& memory, const Table& table) : memory_(memory), table_(table) {}
  u32 length() const { return table_.length; }
  u8 revision() const { return table_.revision; }
  Result<void> read(u64 offset, std::span<std::byte> out) const;
  template <class T>
  Result<T> get(u64 offset) const {
    T value{};
    TRY(read(offset, std::as_writable_bytes(std::span<T>(&value, 1))));
    return value;
  }

 private:
  PhysicalReader& memory_;
  Table table_;
};

// The tables that the RSDP leads to.
class Tables {
 public:
  // `rsdp` as the firmware or boot loader reported it. XSDT is preferred to RSDT.
  static Result<Tables> open(PhysicalReader& memory, PhysAddr rsdp);
  // Searches the places of a PC BIOS: the first KiB of the EBDA, and 0xe0000-0xfffff.
  static Result<PhysAddr> find_rsdp(PhysicalReader& memory);

  usize count() const { return count_; }
  // The header of entry `index` < count(), not yet verified but for its length. Entries of 0 give not_found.
  Result<Table> at(usize index) const;
  // The table number `which` (from 0) of this signature, its checksum verified.
  Result<Table> find(std::string_view signature, usize which = 0) const;
  // A table that another one points to, such as the DSDT. Verified.
  Result<Table> load(PhysAddr address, std::string_view signature) const;
  TableReader reader(const Table& table) const { return TableReader(*memory_, table); }

 private:
  Tables() = default;
  Result<Table> header_at(PhysAddr address) const;
  Result<void> verify(const Table& table) const;

  PhysicalReader* memory_ = nullptr;
  Table root_;
  u32 entry_bytes_ = 4;  // 4: RSDT, 8: XSDT
  usize count_ = 0;
};

// A generic address structure.
struct Register {
  enum class Space : u8 { memory = 0, io = 1, pci = 2, other = 255 };
  Space space = Space::memory;
  u8 bit_width = 0;
  u64 address = 0;  // 0: absent
  bool present() const { return address != 0; }
};
Result<Register> read_register(const TableReader& table, u64 offset);

// -- MADT: interrupt controllers -------------------------------------------------------------------------------------

struct LocalApic {
  u32 processor_uid = 0;
  u32 apic_id = 0;
  bool enabled = false;
  bool online_capable = false;  // may be enabled later
};
struct IoApic {
  u8 id = 0;
  PhysAddr address;
  u32 first_gsi = 0;
};
enum class Polarity : u8 { bus_default, active_high, active_low };
enum class Trigger : u8 { bus_default, edge, level };
struct InterruptOverride {
  u8 source = 0;  // ISA interrupt, 0..15
  u32 gsi = 0;
  Polarity polarity = Polarity::bus_default;
  Trigger trigger = Trigger::bus_default;
};
struct LocalApicNmi {
  u32 processor_uid = 0;  // kAllProcessors: all of them
  u8 lint = 0;            // 0 or 1
  Polarity polarity = Polarity::bus_default;
  Trigger trigger = Trigger::bus_default;
};
inline constexpr u32 kAllProcessors = 0xffffffff;

class MadtVisitor {
 public:
  virtual void local_apic(const LocalApic&) {}
  virtual void io_apic(const IoApic&) {}
  virtual void interrupt_override(const InterruptOverride&) {}
  virtual void local_apic_nmi(const LocalApicNmi&) {}

 protected:
  ~MadtVisitor() = default;
};

struct MadtInfo {
  PhysAddr local_apic_address;
  bool has_legacy_pics = false;  // two 8259s that must be masked
};

// Calls the visitor for each entry it knows, in order. Entries of unknown type are passed over.
Result<MadtInfo> walk_madt(const Tables& tables, MadtVisitor& visitor);

// -- SRAT and SLIT: which processor is in which proximity domain, and how far these are from each other ---------------

class SratVisitor {
 public:
  // A processor that is enabled. Memory and other initiators are passed over.
  virtual void processor(u32 apic_id, u32 domain) = 0;

 protected:
  ~SratVisitor() = default;
};
// In the order of the table.
Result<void> walk_srat(const Tables& tables, SratVisitor& visitor);

// A square of distances: 10 is a domain's to itself, 255 means that there is no way.
class Distances {
 public:
  // Errors: corrupt also when the square is larger than the table.
  static Result<Distances> open(const Tables& tables);
  u32 domains() const { return domains_; }
  // Errors: out_of_range; corrupt (below 10, or a domain that is not 10 from itself).
  Result<u8> between(u32 from, u32 to) const;

 private:
  Distances(const TableReader& reader, u32 domains) : reader_(reader), domains_(domains) {}
  TableReader reader_;
  u32 domains_;
};

// -- HPET ------------------------------------------------------------------------------------------------------------

struct Hpet {
  PhysAddr address;
  u8 number = 0;
  u8 comparators = 0;
  bool counter_is_64_bit = false;
  u16 min_periodic_tick = 0;
};
Result<Hpet> read_hpet(const Tables& tables);

}  // namespace keel::acpi
