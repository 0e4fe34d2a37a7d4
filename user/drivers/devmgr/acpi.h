// What the device manager reads from ACPI beyond the kernel's part: PCI windows (MCFG) and power control (FADT).
//
// The AML of the DSDT is not executed; the sleep type of S5 is found by its bytes, which works wherever \_S5 is the
// usual constant package. Errors as in base/acpi.h.
// See          PCI Firmware Specification 3.3, 4.1.2 (MCFG); ACPI 6.5, 5.2.9 (FADT), 7.4.2 (\_Sx), 20.2.4 (AML
// packages)
#pragma once

#include <optional>

#include "base/acpi.h"
#include "base/inplace_vector.h"

namespace keel::acpi {

// Configuration space of buses [first_bus, last_bus] of a PCI segment; bus b stands at address + (b << 20), also
// for first_bus > 0.
struct EcamSegment {
  PhysAddr address;
  u16 segment = 0;
  u8 first_bus = 0;
  u8 last_bus = 0;
};
inline constexpr usize kMaxEcamSegments = 16;
using EcamSegments = InplaceVector<EcamSegment, kMaxEcamSegments>;
// Errors: also too_big (more than kMaxEcamSegments).
Result<EcamSegments> read_mcfg(const Tables& tables);

struct SleepType {
  u8 a = 0;  // 0..7, for PM1a
  u8 b = 0;
};

struct PowerControl {
  u16 sci_interrupt = 0;
  u16 smi_command_port = 0;  // 0: none; ACPI mode is always on
  u8 acpi_enable = 0;        // written to smi_command_port to enter ACPI mode; 0: none
  Register pm1a_event;
  Register pm1b_event;  // absent on most machines
  Register pm1a_control;
  Register pm1b_control;
  Register pm_timer;
  bool pm_timer_is_32_bit = false;
  bool hardware_reduced = false;
  bool has_8042 = false;  // a keyboard controller; assumed before revision 2 of the table
  std::optional<Register> reset_register;
  u8 reset_value = 0;
  u8 century_index = 0;               // of the RTC; 0: none
  std::optional<SleepType> soft_off;  // S5

  // What to write to PM1a (or PM1b) control to power off; other bits are to be kept.
  static u16 power_off_value(u8 sleep_type) { return static_cast<u16>(sleep_type << 10 | 1 << 13); }
};
Result<PowerControl> read_fadt(const Tables& tables);

// Looks for the name \_S5 with a package of small integers in the AML of `table`. Errors: not_found, the reader's.
Result<SleepType> find_soft_off(const TableReader& table);

}  // namespace keel::acpi
