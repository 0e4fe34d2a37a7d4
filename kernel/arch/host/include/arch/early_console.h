// The console of a kernel that runs as a host process: standard error.
#pragma once

#include <string_view>

namespace keel::arch {

// Does nothing.
void early_console_init();
// Writes `text` as it is.
void early_console_write(std::string_view text);

}  // namespace keel::arch
