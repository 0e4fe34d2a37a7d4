#include "base/acpi.h"

#include <cstring>

namespace keel::acpi {
namespace {

constexpr u32 kRsdpBytes = 20;
constexpr u32 kRsdp2Bytes = 36;
constexpr u32 kMaxRsdpBytes = 64;

u8 sum(std::span<const std::byte> bytes) {
  u8 total = 0;
  for (const std::byte b : bytes) total = static_cast<u8>(total + static_cast<u8>(b));
  return total;
}

template <class T>
T field(std::span<const std::byte> bytes, usize offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

bool is_rsdp(std::span<const std::byte> bytes) {
  return std::memcmp(bytes.data(), "RSD PTR ", 8) == 0 && sum(bytes.first(kRsdpBytes)) == 0;
}

Result<PhysAddr> scan_for_rsdp(PhysicalReader& memory, u64 begin, u64 end) {
  for (u64 at = begin; at + kRsdpBytes <= end; at += 16) {
    std::array<std::byte, kRsdpBytes> bytes;
    TRY(memory.read(PhysAddr(at), bytes));
    if (is_rsdp(bytes)) return PhysAddr(at);
  }
  return Status::not_found;
}

Polarity polarity_of(u16 flags) {
  return (flags & 3) == 1 ? Polarity::active_high : (flags & 3) == 3 ? Polarity::active_low : Polarity::bus_default;
}
Trigger trigger_of(u16 flags) {
  return (flags >> 2 & 3) == 1 ? Trigger::edge : (flags >> 2 & 3) == 3 ? Trigger::level : Trigger::bus_default;
}

}  // namespace

Result<void> TableReader::read(u64 offset, std::span<std::byte> out) const {
  if (offset > table_.length || out.size() > table_.length - offset) return Status::corrupt;
  return memory_.read(table_.address + offset, out);
}

Result<PhysAddr> Tables::find_rsdp(PhysicalReader& memory) {
  std::array<std::byte, 2> ebda;
  if (memory.read(PhysAddr(0x40e), ebda).has_value()) {
    const u64 base = u64{field<u16>(ebda, 0)} << 4;
    if (base >= 0x80000 && base < 0xa0000) {
      const Result<PhysAddr> found = scan_for_rsdp(memory, base, base + 1024);
      if (found.has_value()) return found;
    }
  }
  return scan_for_rsdp(memory, 0xe0000, 0x100000);
}

Result<Tables> Tables::open(PhysicalReader& memory, PhysAddr rsdp) {
  Tables tables;
  tables.memory_ = &memory;
  std::array<std::byte, kMaxRsdpBytes> bytes{};
  TRY(memory.read(rsdp, std::span(bytes).first(kRsdpBytes)));
  if (!is_rsdp(bytes)) return Status::corrupt;
  const u8 revision = field<u8>(bytes, 15);
  u64 xsdt = 0;
  if (revision >= 2) {
    TRY(memory.read(rsdp, std::span(bytes).first(kRsdp2Bytes)));
    const u32 length = field<u32>(bytes, 20);
    if (length < kRsdp2Bytes || length > kMaxRsdpBytes) return Status::corrupt;
    TRY(memory.read(rsdp, std::span(bytes).first(length)));
    if (sum(std::span(bytes).first(length)) != 0) return Status::corrupt;
    xsdt = field<u64>(bytes, 24);
  }
  tables.entry_bytes_ = xsdt != 0 ? 8 : 4;
  tables.root_ =
      TRY(xsdt != 0 ? tables.load(PhysAddr(xsdt), "XSDT") : tables.load(PhysAddr(field<u32>(bytes, 16)), "RSDT"));
  const usize entries = (tables.root_.length - kTableHeaderBytes) / tables.entry_bytes_;
  tables.count_ = entries < kMaxTables ? entries : kMaxTables;
  return tables;
}

Result<Table> Tables::header_at(PhysAddr address) const {
  if (address.value == 0) return Status::not_found;
  std::array<std::byte, kTableHeaderBytes> bytes;
  TRY(memory_->read(address, bytes));
  Table table;
  std::memcpy(table.signature.data(), bytes.data(), table.signature.size());
  table.length = field<u32>(bytes, 4);
  table.revision = field<u8>(bytes, 8);
  table.address = address;
  u64 end = 0;
  if (table.length < kTableHeaderBytes || table.length > kMaxTableBytes) return Status::corrupt;
  if (!checked_add(address.value, table.length, &end)) return Status::corrupt;
  return table;
}

Result<void> Tables::verify(const Table& table) const {
  std::array<std::byte, 256> chunk;
  u8 total = 0;
  for (u32 done = 0; done < table.length;) {
    const u32 left = table.length - done;
    const std::span<std::byte> part = std::span(chunk).first(left < chunk.size() ? left : chunk.size());
    TRY(memory_->read(table.address + done, part));
    total = static_cast<u8>(total + sum(part));
    done += static_cast<u32>(part.size());
  }
  return total == 0 ? Result<void>() : Result<void>(Status::corrupt);
}

Result<Table> Tables::load(PhysAddr address, std::string_view signature) const {
  const Table table = TRY(header_at(address));
  if (std::string_view(table.signature.data(), table.signature.size()) != signature) return Status::corrupt;
  TRY(verify(table));
  return table;
}

Result<Table> Tables::at(usize index) const {
  if (index >= count_) return Status::not_found;
  const u64 offset = kTableHeaderBytes + index * entry_bytes_;
  const TableReader root = reader(root_);
  const u64 address = entry_bytes_ == 8 ? TRY(root.get<u64>(offset)) : TRY(root.get<u32>(offset));
  return header_at(PhysAddr(address));
}

Result<Table> Tables::find(std::string_view signature, usize which) const {
  for (usize i = 0; i < count_; ++i) {
    const Result<Table> table = at(i);  // one that cannot be read hides no other
    if (!table.has_value() || std::string_view(table->signature.data(), table->signature.size()) != signature) continue;
    if (which-- > 0) continue;
    TRY(verify(*table));
    return *table;
  }
  return Status::not_found;
}

Result<Register> read_register(const TableReader& table, u64 offset) {
  Register r;
  const u8 space = TRY(table.get<u8>(offset));
  r.space = space <= 2 ? static_cast<Register::Space>(space) : Register::Space::other;
  r.bit_width = TRY(table.get<u8>(offset + 1));
  r.address = TRY(table.get<u64>(offset + 4));
  return r;
}

Result<MadtInfo> walk_madt(const Tables& tables, MadtVisitor& visitor) {
  const Table table = TRY(tables.find("APIC"));
  const TableReader reader = tables.reader(table);
  MadtInfo info;
  info.local_apic_address = PhysAddr(TRY(reader.get<u32>(36)));
  info.has_legacy_pics = (TRY(reader.get<u32>(40)) & 1) != 0;

  for (u64 at = 44; at < table.length;) {
    std::array<std::byte, 16> e{};  // all known entries are at most this long
    TRY(reader.read(at, std::span(e).first(2)));
    const u8 type = field<u8>(e, 0);
    const u8 length = field<u8>(e, 1);
    if (length < 2 || length > table.length - at) return Status::corrupt;
    TRY(reader.read(at, std::span(e).first(length < e.size() ? length : e.size())));
    at += length;

    constexpr u8 kMinimum[] = {8, 12, 10, 8, 6, 12, 0, 0, 0, 16, 12};
    if (type < std::size(kMinimum) && length < kMinimum[type]) return Status::corrupt;
    const auto apic_flags = [](u32 flags, LocalApic* apic) {
      apic->enabled = (flags & 1) != 0;
      apic->online_capable = (flags & 2) != 0;
    };
    switch (type) {
      case 0: {
        LocalApic apic{field<u8>(e, 2), field<u8>(e, 3), false, false};
        apic_flags(field<u32>(e, 4), &apic);
        visitor.local_apic(apic);
        break;
      }
      case 1:
        visitor.io_apic({field<u8>(e, 2), PhysAddr(field<u32>(e, 4)), field<u32>(e, 8)});
        break;
      case 2: {
        const u16 flags = field<u16>(e, 8);
        if (field<u8>(e, 2) != 0 || field<u8>(e, 3) > 15) return Status::corrupt;  // the ISA bus and its lines
        visitor.interrupt_override({field<u8>(e, 3), field<u32>(e, 4), polarity_of(flags), trigger_of(flags)});
        break;
      }
      case 4: {
        const u16 flags = field<u16>(e, 3);
        const u8 uid = field<u8>(e, 2);
        visitor.local_apic_nmi({uid == 0xff ? kAllProcessors : uid, static_cast<u8>(field<u8>(e, 5) & 1),
                                polarity_of(flags), trigger_of(flags)});
        break;
      }
      case 5:
        info.local_apic_address = PhysAddr(field<u64>(e, 4));
        break;
      case 9: {
        LocalApic apic{field<u32>(e, 12), field<u32>(e, 4), false, false};
        apic_flags(field<u32>(e, 8), &apic);
        visitor.local_apic(apic);
        break;
      }
      case 10: {
        const u16 flags = field<u16>(e, 2);
        visitor.local_apic_nmi(
            {field<u32>(e, 4), static_cast<u8>(field<u8>(e, 8) & 1), polarity_of(flags), trigger_of(flags)});
        break;
      }
      default:
        break;
    }
  }
  return info;
}

Result<void> walk_srat(const Tables& tables, SratVisitor& visitor) {
  const Table table = TRY(tables.find("SRAT"));
  const TableReader reader = tables.reader(table);
  for (u64 at = 48; at < table.length;) {
    std::array<std::byte, 16> e{};  // as much of an entry as is looked at
    TRY(reader.read(at, std::span(e).first(2)));
    const u8 type = field<u8>(e, 0);
    const u8 length = field<u8>(e, 1);
    if (length < 2 || length > table.length - at) return Status::corrupt;
    TRY(reader.read(at, std::span(e).first(length < e.size() ? length : e.size())));
    at += length;
    if (type == 0) {  // by the number of the local APIC
      if (length < 16) return Status::corrupt;
      const u32 domain = field<u8>(e, 2) | (field<u32>(e, 8) & 0xffffff00);
      if ((field<u32>(e, 4) & 1) != 0) visitor.processor(field<u8>(e, 3), domain);
    } else if (type == 2) {  // by that of the x2APIC
      if (length < 24) return Status::corrupt;
      if ((field<u32>(e, 12) & 1) != 0) visitor.processor(field<u32>(e, 8), field<u32>(e, 4));
    }
  }
  return {};
}

Result<Distances> Distances::open(const Tables& tables) {
  const Table table = TRY(tables.find("SLIT"));
  const TableReader reader = tables.reader(table);
  const u64 domains = TRY(reader.get<u64>(36));
  if (domains > 0xffff || domains * domains > table.length - 44) return Status::corrupt;
  return Distances(reader, u32(domains));
}

Result<u8> Distances::between(u32 from, u32 to) const {
  if (from >= domains_ || to >= domains_) return Status::out_of_range;
  const u8 distance = TRY(reader_.get<u8>(44 + u64{from} * domains_ + to));
  if (distance < 10 || (from == to && distance != 10)) return Status::corrupt;
  return distance;
}

Result<Hpet> read_hpet(const Tables& tables) {
  const Table table = TRY(tables.find("HPET"));
  const TableReader reader = tables.reader(table);
  const u32 id = TRY(reader.get<u32>(36));
  const Register base = TRY(read_register(reader, 40));
  if (base.space != Register::Space::memory || !base.present()) return Status::corrupt;
  Hpet hpet;
  hpet.address = PhysAddr(base.address);
  hpet.number = TRY(reader.get<u8>(52));
  hpet.comparators = static_cast<u8>((id >> 8 & 0x1f) + 1);
  hpet.counter_is_64_bit = (id & 1u << 13) != 0;
  hpet.min_periodic_tick = TRY(reader.get<u16>(53));
  return hpet;
}

}  // namespace keel::acpi
