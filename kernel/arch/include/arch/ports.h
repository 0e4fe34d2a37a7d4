// I/O ports. On the host they read as all ones and ignore what is written.
#pragma once

#include "base/types.h"

namespace keel::arch {

// width: 1, 2 or 4 bytes.
u32 read_port(u16 port, u32 width);
void write_port(u16 port, u32 width, u32 value);

}  // namespace keel::arch
