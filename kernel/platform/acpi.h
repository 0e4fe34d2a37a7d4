// The ACPI tables, which the device manager reads too: hence in base/.
#pragma once

#include "base/acpi.h"
