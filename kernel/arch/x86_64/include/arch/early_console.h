// The console that works from the first instruction on: the first serial port, polled.
#pragma once

#include <string_view>

namespace keel::arch {

// Sets the serial port up. Writing before that is harmless.
void early_console_init();
// Writes `text`, with a carriage return before each newline. Boot and panic only: it waits for the port.
void early_console_write(std::string_view text);

}  // namespace keel::arch
