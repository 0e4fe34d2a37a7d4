// Power off and reset by what the FADT says.
#pragma once

#include "user/drivers/devmgr/hardware.h"

namespace keel::devmgr {

class Power {
 public:
  Power(CapIndex physical, CapIndex ports) : physical_(physical), ports_(ports) {}
  // Errors: those of the tables; power_off() and reset() then answer not_supported.
  Result<void> read(const acpi::Tables& tables);

  // Both return only on failure.
  Status off();
  Status reset();

 private:
  Result<u64> read_register(const acpi::Register& r, u32 width);
  Result<void> write_register(const acpi::Register& r, u32 width, u64 value);
  Result<void> enter_acpi_mode();

  CapIndex physical_;
  CapIndex ports_;
  bool known_ = false;
  acpi::PowerControl control_;
  acpi::Register sleep_control_;  // of machines without the fixed registers
};

}  // namespace keel::devmgr
