#include "user/drivers/devmgr/acpi.h"

#include "base/byte_reader.h"

namespace keel::acpi {
namespace {

constexpr u8 kNameOp = 0x08;
constexpr u8 kPackageOp = 0x12;
constexpr u8 kZeroOp = 0x00;
constexpr u8 kOneOp = 0x01;
constexpr u8 kBytePrefix = 0x0a;
constexpr u8 kWordPrefix = 0x0b;
constexpr u8 kDwordPrefix = 0x0c;

constexpr usize kMaxSsdts = 32;

// The longest form looked at: name, package head (4 + 1 + 1 bytes), two dwords.
constexpr usize kPatternBytes = 5 + 6 + 10;

// One AML integer below 8; moves *at behind it.
Result<u8> take_small_integer(const ByteReader& aml, u64* at) {
  const u8 op = TRY(aml.read_u8((*at)++));
  if (op == kZeroOp || op == kOneOp) return op;
  u32 value = 0;
  if (op == kBytePrefix) {
    value = TRY(aml.read_u8(*at));
    *at += 1;
  } else if (op == kWordPrefix) {
    value = TRY(aml.read_u16(*at));
    *at += 2;
  } else if (op == kDwordPrefix) {
    value = TRY(aml.read_u32(*at));
    *at += 4;
  } else {
    return Status::corrupt;
  }
  if (value > 7) return Status::corrupt;
  return static_cast<u8>(value);
}

// `aml` begins with the bytes of "_S5_".
Result<SleepType> parse_soft_off(const ByteReader& aml) {
  u64 at = 4;
  if (TRY(aml.read_u8(at++)) != kPackageOp) return Status::corrupt;
  at += 1 + (TRY(aml.read_u8(at)) >> 6);  // PkgLength: the top bits say how many bytes follow
  if (TRY(aml.read_u8(at++)) < 2) return Status::corrupt;
  SleepType type;
  type.a = TRY(take_small_integer(aml, &at));
  type.b = TRY(take_small_integer(aml, &at));
  return type;
}

// The extended field if the table has it and it is set, else the old 32-bit port.
Result<Register> register_of(const TableReader& fadt, u64 extended, u64 old, u8 bytes) {
  if (fadt.length() >= extended + 12) {
    const Register r = TRY(read_register(fadt, extended));
    if (r.present()) return r;
  }
  Register r;
  r.space = Register::Space::io;
  r.address = TRY(fadt.get<u32>(old));
  r.bit_width = static_cast<u8>(bytes * 8);
  if (r.address > 0xffff) return Status::corrupt;
  return r;
}

}  // namespace

Result<EcamSegments> read_mcfg(const Tables& tables) {
  const Table table = TRY(tables.find("MCFG"));
  const TableReader reader = tables.reader(table);
  EcamSegments segments;
  for (u64 at = 44; at + 16 <= table.length; at += 16) {
    EcamSegment s;
    s.address = PhysAddr(TRY(reader.get<u64>(at)));
    s.segment = TRY(reader.get<u16>(at + 8));
    s.first_bus = TRY(reader.get<u8>(at + 10));
    s.last_bus = TRY(reader.get<u8>(at + 11));
    u64 end = 0;
    if (s.address.value == 0 || !is_aligned(s.address.value, 1 << 20) || s.last_bus < s.first_bus ||
        !checked_add(s.address.value, u64{256} << 20, &end)) {
      return Status::corrupt;
    }
    if (!segments.push_back(s)) return Status::too_big;
  }
  return segments;
}

Result<SleepType> find_soft_off(const TableReader& table) {
  std::array<std::byte, 512> window;
  // Windows overlap by the length of the pattern, so that it lies whole in one of them.
  for (u64 begin = kTableHeaderBytes; begin < table.length(); begin += window.size() - kPatternBytes) {
    const u64 left = table.length() - begin;
    const std::span<std::byte> part = std::span(window).first(left < window.size() ? left : window.size());
    TRY(table.read(begin, part));
    const std::string_view text(reinterpret_cast<const char*>(part.data()), part.size());
    for (usize at = text.find("_S5_"); at != std::string_view::npos; at = text.find("_S5_", at + 1)) {
      const bool named =
          (at >= 1 && text[at - 1] == kNameOp) || (at >= 2 && text[at - 1] == '\\' && text[at - 2] == kNameOp);
      if (!named) continue;
      const Result<SleepType> type = parse_soft_off(ByteReader(part.subspan(at)));
      if (type.has_value()) return type;
    }
  }
  return Status::not_found;
}

Result<PowerControl> read_fadt(const Tables& tables) {
  const Table table = TRY(tables.find("FACP"));
  const TableReader fadt = tables.reader(table);
  PowerControl power;
  const u32 flags = TRY(fadt.get<u32>(112));
  const u32 smi_command = TRY(fadt.get<u32>(48));
  if (smi_command > 0xffff) return Status::corrupt;
  power.sci_interrupt = TRY(fadt.get<u16>(46));
  power.smi_command_port = static_cast<u16>(smi_command);
  power.acpi_enable = TRY(fadt.get<u8>(52));
  const u8 event_bytes = TRY(fadt.get<u8>(88));
  const u8 control_bytes = TRY(fadt.get<u8>(89));
  const u8 timer_bytes = TRY(fadt.get<u8>(91));
  power.pm1a_event = TRY(register_of(fadt, 148, 56, event_bytes));
  power.pm1b_event = TRY(register_of(fadt, 160, 60, event_bytes));
  power.pm1a_control = TRY(register_of(fadt, 172, 64, control_bytes));
  power.pm1b_control = TRY(register_of(fadt, 184, 68, control_bytes));
  power.pm_timer = TRY(register_of(fadt, 208, 76, timer_bytes));
  power.pm_timer_is_32_bit = (flags & 1u << 8) != 0;
  power.hardware_reduced = (flags & 1u << 20) != 0;
  power.has_8042 = table.revision < 2 || (TRY(fadt.get<u16>(109)) & 2) != 0;
  power.century_index = TRY(fadt.get<u8>(108));
  if ((flags & 1u << 10) != 0 && table.length >= 129) {
    const Register reset = TRY(read_register(fadt, 116));
    if (reset.present()) power.reset_register = reset;
    power.reset_value = TRY(fadt.get<u8>(128));
  }

  u64 dsdt = TRY(fadt.get<u32>(40));
  if (table.length >= 148) {
    const u64 extended = TRY(fadt.get<u64>(140));
    if (extended != 0) dsdt = extended;
  }
  // Power-off is a convenience: a damaged DSDT costs only that.
  if (const Result<Table> aml = tables.load(PhysAddr(dsdt), "DSDT"); aml.has_value()) {
    if (const Result<SleepType> type = find_soft_off(tables.reader(*aml)); type.has_value()) power.soft_off = *type;
  }
  for (usize i = 0; !power.soft_off.has_value() && i < kMaxSsdts; ++i) {
    const Result<Table> ssdt = tables.find("SSDT", i);
    if (!ssdt.has_value()) {
      if (ssdt.error() == Status::not_found) break;
      continue;
    }
    if (const Result<SleepType> type = find_soft_off(tables.reader(*ssdt)); type.has_value()) power.soft_off = *type;
  }
  return power;
}

}  // namespace keel::acpi
