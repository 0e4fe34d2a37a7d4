#include "user/drivers/devmgr/power.h"

#include "user/drivers/mmio.h"
#include "user/runtime/clock.h"
#include "user/runtime/print.h"
#include "user/runtime/stubs.h"

namespace keel::devmgr {
namespace {

constexpr u64 kSleepControl = 244;  // in the FADT: ACPI 6.5, table 5.9
constexpr u16 kAcpiMode = 1;
constexpr u8 kSleepEnable = 1 << 5;
constexpr u8 kUsualSoftOff = 5;  // QEMU's microvm; used if \_S5 was not found on a hardware-reduced machine
constexpr u64 kPatience = kSecond;
constexpr u64 kResetControlPort = 0xcf9, kKeyboardPort = 0x64;

}  // namespace

Result<void> Power::read(const acpi::Tables& tables) {
  control_ = TRY(acpi::read_fadt(tables));
  const acpi::TableReader fadt = tables.reader(TRY(tables.find("FACP")));
  if (fadt.length() >= kSleepControl + 12) sleep_control_ = TRY(acpi::read_register(fadt, kSleepControl));
  known_ = true;
  return {};
}

Result<u64> Power::read_register(const acpi::Register& r, u32 width) {
  if (r.space == acpi::Register::Space::io) return sys::io_read(ports_, r.address, width);
  if (r.space != acpi::Register::Space::memory) return Status::not_supported;
  const PhysicalWindow at = TRY(PhysicalWindow::map(physical_, r.address, width, Access::read_write));
  return width == 1   ? u64{mmio_read<u8>(at.data())}
         : width == 2 ? mmio_read<u16>(at.data())
                      : mmio_read<u32>(at.data());
}

Result<void> Power::write_register(const acpi::Register& r, u32 width, u64 value) {
  if (r.space == acpi::Register::Space::io) return sys::io_write(ports_, r.address, width, value);
  if (r.space != acpi::Register::Space::memory) return Status::not_supported;
  const PhysicalWindow at = TRY(PhysicalWindow::map(physical_, r.address, width, Access::read_write));
  if (width == 1) {
    mmio_write(at.data(), 0, static_cast<u8>(value));
  } else if (width == 2) {
    mmio_write(at.data(), 0, static_cast<u16>(value));
  } else {
    mmio_write(at.data(), 0, static_cast<u32>(value));
  }
  return {};
}

Result<void> Power::enter_acpi_mode() {
  if (control_.smi_command_port == 0 || control_.acpi_enable == 0) return {};
  if ((TRY(read_register(control_.pm1a_control, 2)) & kAcpiMode) != 0) return {};
  TRY(sys::io_write(ports_, control_.smi_command_port, 1, control_.acpi_enable));
  for (const Deadline deadline = after(kPatience); !has_passed(deadline);) {
    if ((TRY(read_register(control_.pm1a_control, 2)) & kAcpiMode) != 0) return {};
    sleep_until(after(kMillisecond));
  }
  return Status::timed_out;
}

Status Power::off() {
  if (!known_) return Status::not_supported;
  if (control_.hardware_reduced) {
    if (!sleep_control_.present()) return Status::not_supported;
    const u8 type = control_.soft_off.has_value() ? control_.soft_off->a : kUsualSoftOff;
    const Result<void> written = write_register(sleep_control_, 1, u64{type} << 2 | kSleepEnable);
    if (!written.has_value()) return written.error();
  } else {
    if (!control_.soft_off.has_value() || !control_.pm1a_control.present()) return Status::not_supported;
    if (const Result<void> mode = enter_acpi_mode(); !mode.has_value()) log_warning("ACPI mode: {}", mode.error());
    const auto sleep = [&](const acpi::Register& r, u8 type) -> Result<void> {
      constexpr u64 kKept = ~u64{7 << 10 | 1 << 13};
      const u64 now = TRY(read_register(r, 2));
      return write_register(r, 2, (now & kKept) | acpi::PowerControl::power_off_value(type));
    };
    const Result<void> a = sleep(control_.pm1a_control, control_.soft_off->a);
    if (!a.has_value()) return a.error();
    if (control_.pm1b_control.present()) static_cast<void>(sleep(control_.pm1b_control, control_.soft_off->b));
  }
  sleep_until(after(kPatience));
  return Status::timed_out;
}

Status Power::reset() {
  if (known_ && control_.reset_register.has_value()) {
    static_cast<void>(write_register(*control_.reset_register, 1, control_.reset_value));
    sleep_until(after(kPatience / 10));
  }
  // What every PC has: the reset control of the chip set, then the keyboard controller.
  static_cast<void>(sys::io_write(ports_, kResetControlPort, 1, 6));
  sleep_until(after(kPatience / 10));
  static_cast<void>(sys::io_write(ports_, kKeyboardPort, 1, 0xfe));
  sleep_until(after(kPatience / 10));
  return Status::timed_out;
}

}  // namespace keel::devmgr
