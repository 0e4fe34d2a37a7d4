// Local APIC, I/O APICs, and the timers they are calibrated against. Intel SDM vol. 3A, chapter 11; 82093AA I/O APIC
// data sheet; IA-PC HPET specification 1.0a; 8254 data sheet.
#include <arch/context.h>
#include <arch/fast_switch.h>
#include <arch/interrupts.h>
#include <arch/memory.h>
#include <arch/ports.h>

#include "base/acpi.h"
#include "kernel/arch/x86_64/instructions.h"
#include "kernel/arch/x86_64/processor.h"
#include "kernel/core/machine.h"

namespace keel::arch {
namespace {

// Registers of the local APIC, by byte offset.
constexpr u32 kApicId = 0x20, kEoi = 0xb0, kSpurious = 0xf0, kCommandLow = 0x300, kCommandHigh = 0x310,
              kTimerEntry = 0x320, kLint0 = 0x350, kLint1 = 0x360, kErrorEntry = 0x370, kInitialCount = 0x380,
              kCurrentCount = 0x390, kDivide = 0x3e0;
constexpr u32 kMasked = 1 << 16;
constexpr u32 kMsrApicBase = 0x1b;
constexpr u32 kAllApics = 0xff;  // numbers from here on have no place in an interrupt command

struct IoApic {
  volatile u32* registers = nullptr;
  u32 first_line = 0;
  u32 lines = 0;
};
constexpr u32 kMaxIoApics = 8;

// The hardware that there is one of in the machine we run on; found at boot and not changed after.
struct Hardware {
  volatile u32* local_apic = nullptr;
  IoApic io_apics[kMaxIoApics];
  u32 io_apic_count = 0;
  u64 apic_multiplier = 0;      // timer ticks = ns * multiplier >> 32
  u32 apic_ids[kMaxCpus] = {};  // of the CPUs that the firmware lists
  u32 apic_count = 0;
  u8 nodes[256] = {};                                // by the number of the local APIC
  SpinLock io_lock{LockRank::devices, "I/O APICs"};  // a register is reached in two steps
};
constinit Hardware hardware{};

u32 apic_read(u32 reg) { return hardware.local_apic[reg / 4]; }
void apic_write(u32 reg, u32 value) { hardware.local_apic[reg / 4] = value; }

IoApic* io_apic_of(u64 line) {
  for (u32 i = 0; i < hardware.io_apic_count; ++i) {
    IoApic& a = hardware.io_apics[i];
    if (line >= a.first_line && line - a.first_line < a.lines) return &a;
  }
  return nullptr;
}
u32 io_read(const IoApic& a, u32 index) {
  a.registers[0] = index;
  return a.registers[4];
}
void io_write(const IoApic& a, u32 index, u32 value) {
  a.registers[0] = index;
  a.registers[4] = value;
}
u32 entry_index(const IoApic& a, u64 line) { return 0x10 + 2 * u32(line - a.first_line); }

// Firmware tables wherever they lie.
class FirmwareReader final : public acpi::PhysicalReader {
 public:
  explicit FirmwareReader(Cpu& cpu) : cpu_(cpu) {}
  Result<void> read(PhysAddr address, std::span<std::byte> out) override {
    // One mapping for the region that tables usually share, another each time a table lies elsewhere.
    const u64 first = align_down(address.value, kPageSize);
    const u64 end = align_up(address.value + out.size(), kPageSize);
    if (first < mapped_from_ || end > mapped_to_) {
      mapping_ = static_cast<const std::byte*>(
          TRY(map_firmware(cpu_, cpu_.machine.root_group(), PhysAddr(first), end - first)));
      mapped_from_ = first;
      mapped_to_ = end;
    }
    const std::byte* from = mapping_ + (address.value - mapped_from_);
    for (usize i = 0; i < out.size(); ++i) out[i] = from[i];
    return {};
  }

 private:
  Cpu& cpu_;
  const std::byte* mapping_ = nullptr;
  u64 mapped_from_ = 1;
  u64 mapped_to_ = 0;
};

class Visitor final : public acpi::MadtVisitor {
 public:
  explicit Visitor(Cpu& cpu) : cpu_(cpu) {}
  void local_apic(const acpi::LocalApic& a) override {
    if (!a.enabled) return;
    if (a.apic_id < kAllApics && hardware.apic_count < kMaxCpus) {
      hardware.apic_ids[hardware.apic_count++] = a.apic_id;
    } else {
      ++unused;
    }
  }
  void io_apic(const acpi::IoApic& a) override {
    if (hardware.io_apic_count == kMaxIoApics) return;
    auto mapped = map_mmio(cpu_, cpu_.machine.root_group(), a.address, 0x20);
    if (!mapped.has_value()) return;
    IoApic& made = hardware.io_apics[hardware.io_apic_count++];
    made.registers = static_cast<volatile u32*>(*mapped);
    made.first_line = a.first_gsi;
    made.lines = (io_read(made, 1) >> 16 & 0xff) + 1;
    for (u32 i = 0; i < made.lines; ++i) io_write(made, 0x10 + 2 * i, kMasked);
  }

  u32 unused = 0;  // CPUs without a number that the local APIC can send to, or beyond kMaxCpus

 private:
  Cpu& cpu_;
};

class NodeFinder final : public acpi::SratVisitor {
 public:
  void processor(u32 apic_id, u32 domain) override {
    if (apic_id < kAllApics && domain < Machine::kMaxNodes) hardware.nodes[apic_id] = u8(domain);
  }
};

// Without tables, or with broken ones, all CPUs are on node 0. The numbers of nodes are those of their domains.
void find_nodes(Machine& machine, const acpi::Tables& tables) {
  NodeFinder finder;
  if (!acpi::walk_srat(tables, finder).has_value()) {
    for (u8& node : hardware.nodes) node = 0;
    return;
  }
  const auto slit = acpi::Distances::open(tables);
  for (u32 from = 0; from < Machine::kMaxNodes; ++from) {
    for (u32 to = 0; to < Machine::kMaxNodes; ++to) {
      const u8 usual = from == to ? 10 : 20;
      machine.distances[from][to] = slit.has_value() ? slit->between(from, to).value_or(usual) : usual;
    }
  }
}

void send_ipi(u32 apic_id, u32 command) {
  while ((apic_read(kCommandLow) & 1 << 12) != 0) pause();  // the last one is still on its way
  apic_write(kCommandHigh, apic_id << 24);
  apic_write(kCommandLow, command);
}

void mask_legacy_controllers() {
  // Remapped first: a spurious interrupt of theirs comes even when masked, and must not look like an exception.
  constexpr u16 kMaster = 0x20, kSlave = 0xa0;
  out8(kMaster, 0x11), out8(kSlave, 0x11);
  out8(kMaster + 1, 0x20), out8(kSlave + 1, 0x28);
  out8(kMaster + 1, 4), out8(kSlave + 1, 2);
  out8(kMaster + 1, 1), out8(kSlave + 1, 1);
  out8(kMaster + 1, 0xff), out8(kSlave + 1, 0xff);
}

// Frequencies measured over one stretch of a reference clock.
struct Rates {
  u64 tsc_hz;
  u64 apic_hz;
};

// `elapsed_fs()` answers femtoseconds since some start by the reference clock.
template <class Elapsed>
Rates measure(Elapsed elapsed_fs) {
  constexpr u64 kStretchFs = 100'000'000'000;  // 0.1 ms: a boot must not wait longer than it has to
  apic_write(kTimerEntry, kMasked);
  apic_write(kDivide, 0xb);  // by 1
  u64 start = elapsed_fs();
  u64 tsc = read_tsc();
  apic_write(kInitialCount, ~u32{0});
  u64 now;
  do {
    now = elapsed_fs();
  } while (now - start < kStretchFs);
  u64 tsc_ticks = read_tsc() - tsc;
  u64 apic_ticks = ~u32{0} - apic_read(kCurrentCount);
  apic_write(kInitialCount, 0);
  // At most a few million ticks: no overflow.
  const u64 elapsed_ns = (now - start) / 1'000'000;
  const auto per_second = [&](u64 ticks) { return ticks * 1'000'000'000 / elapsed_ns; };
  return {per_second(tsc_ticks), per_second(apic_ticks)};
}

Result<Rates> measure_against_hpet(Cpu& cpu, const acpi::Tables& tables) {
  acpi::Hpet hpet = TRY(acpi::read_hpet(tables));
  auto* registers = static_cast<volatile u64*>(TRY(map_mmio(cpu, cpu.machine.root_group(), hpet.address, 0x400)));
  const u64 period_fs = registers[0] >> 32;
  if (period_fs == 0 || period_fs > 100'000'000) return Status::corrupt;
  registers[2] = registers[2] | 1;  // run
  return measure([&] { return u64{u32(registers[0xf0 / 8])} * period_fs; });
}

Rates measure_against_pit() {
  // Channel 2, gate on, speaker off, counting down from 65535 at 1.193182 MHz.
  out8(0x61, u8((in8(0x61) & ~2) | 1));
  out8(0x43, 0xb0);
  out8(0x42, 0xff);
  out8(0x42, 0xff);
  return measure([] {
    out8(0x43, 0x80);  // latch
    u32 low = in8(0x42);
    u32 count = low | u32{in8(0x42)} << 8;
    return u64{65535 - count} * 838'095'110;
  });
}

}  // namespace

Result<void> initialise_interrupts(Cpu& cpu, const BootInfo& boot) {
  FirmwareReader reader(cpu);
  PhysAddr rsdp = boot.rsdp;
  if (rsdp.value == 0) rsdp = TRY(acpi::Tables::find_rsdp(reader));
  acpi::Tables tables = TRY(acpi::Tables::open(reader, rsdp));
  Visitor visitor(cpu);
  TRY(acpi::walk_madt(tables, visitor));
  if (visitor.unused != 0) log_format(cpu, LogLevel::warning, "{} further CPUs are not used", visitor.unused);
  find_nodes(cpu.machine, tables);
  mask_legacy_controllers();
  const PhysAddr apic(read_msr(kMsrApicBase) & 0x000f'ffff'ffff'f000);
  hardware.local_apic = static_cast<volatile u32*>(TRY(map_mmio(cpu, cpu.machine.root_group(), apic, kPageSize)));
  end_of_interrupt_register = hardware.local_apic + kEoi / 4;
  enable_local_apic(cpu);

  Result<Rates> rates = measure_against_hpet(cpu, tables);
  if (!rates.has_value()) rates = measure_against_pit();
  if (rates->tsc_hz == 0 || rates->apic_hz == 0) return Status::not_supported;
  hardware.apic_multiplier = (rates->apic_hz << 32) / 1'000'000'000;  // up to 4 GHz
  apic_write(kTimerEntry, kTimerVector);
  cpu.machine.clock.initialise(rates->tsc_hz, boot.entry_tsc, 0);
  cpu.machine.present_cpus = hardware.apic_count;
  return {};
}

void enable_local_apic(Cpu& cpu) {
  write_msr(kMsrApicBase, read_msr(kMsrApicBase) | 1 << 11);
  apic_write(kLint0, kMasked);
  apic_write(kLint1, kMasked);
  apic_write(kErrorEntry, kMasked);
  apic_write(kSpurious, 1 << 8 | kSpuriousVector);
  apic_write(kDivide, 0xb);  // by 1
  apic_write(kTimerEntry, kTimerVector);
  cpu.arch.apic_id = local_apic_id();
  cpu.node = hardware.nodes[cpu.arch.apic_id];
}

u32 local_apic_id() { return apic_read(kApicId) >> 24; }
void send_init(u32 apic_id) { send_ipi(apic_id, 0x4500); }
void send_startup(u32 apic_id, u32 page) { send_ipi(apic_id, 0x4600 | page); }
void send_unmaskable(u32 apic_id) { send_ipi(apic_id, 0x4400); }
void interrupt_cpu(Cpu&, Cpu& to) { send_ipi(u32(to.arch.apic_id), 0x4000 | kIpiVector); }

Result<void> start_cpus(Cpu& cpu) { return start_other_cpus(cpu, {hardware.apic_ids, hardware.apic_count}); }

extern "C" {
constinit volatile u32* end_of_interrupt_register = nullptr;
}
void end_of_interrupt() { *end_of_interrupt_register = 0; }

void set_timer(Cpu& cpu, u64 deadline_ns) {
  if (deadline_ns == ~u64{0}) {
    apic_write(kInitialCount, 0);
    return;
  }
  const u64 now = cpu.now_ns();
  const u64 wait = deadline_ns > now ? deadline_ns - now : 0;
  u64 ticks = wait >= u64{4'000'000'000} ? ~u32{0} : (wait * hardware.apic_multiplier >> 32) + 1;
  if (ticks > ~u32{0}) ticks = ~u32{0};  // goes off early and is set again
  apic_write(kInitialCount, u32(ticks));
}

void interrupt_self(Cpu&) { apic_write(kCommandLow, 1 << 18 | kSelfVector); }

bool has_interrupt_line(u64 line) { return io_apic_of(line) != nullptr; }

void route_interrupt_line(Cpu& cpu, u64 line, u8 vector, bool level, bool active_low) {
  IoApic* a = io_apic_of(line);
  if (a == nullptr) return;
  LockGuard guard(cpu, hardware.io_lock);
  io_write(*a, entry_index(*a, line) + 1, apic_read(kApicId) & 0xff000000);
  io_write(*a, entry_index(*a, line), vector | (active_low ? 1 << 13 : 0) | (level ? 1 << 15 : 0) | kMasked);
}

void move_interrupt_line(Cpu& cpu, u64 line, const Cpu& to) {
  IoApic* a = io_apic_of(line);
  if (a == nullptr) return;
  LockGuard guard(cpu, hardware.io_lock);
  io_write(*a, entry_index(*a, line) + 1, u32(to.arch.apic_id) << 24);
}

void mask_interrupt_line(Cpu& cpu, u64 line) {
  IoApic* a = io_apic_of(line);
  if (a == nullptr) return;
  LockGuard guard(cpu, hardware.io_lock);
  io_write(*a, entry_index(*a, line), io_read(*a, entry_index(*a, line)) | kMasked);
}

void unmask_interrupt_line(Cpu& cpu, u64 line) {
  IoApic* a = io_apic_of(line);
  if (a == nullptr) return;
  LockGuard guard(cpu, hardware.io_lock);
  io_write(*a, entry_index(*a, line), io_read(*a, entry_index(*a, line)) & ~kMasked);
}

InterruptMessage interrupt_message(Cpu&, u8 vector) {
  return {0xfee00000 | u64{apic_read(kApicId) >> 24} << 12, vector};
}

u32 read_port(u16 port, u32 width) { return width == 1 ? in8(port) : width == 2 ? in16(port) : in32(port); }

void write_port(u16 port, u32 width, u32 value) {
  if (width == 1) {
    out8(port, u8(value));
  } else if (width == 2) {
    out16(port, u16(value));
  } else {
    out32(port, value);
  }
}

}  // namespace keel::arch
