// The end of a kernel that has found one of its own rules broken.
#pragma once

#include <string_view>

namespace keel::arch {

// Says why on the early console, then the registers, a back trace and the last events, and ends.
[[noreturn]] void panic(std::string_view why);

}  // namespace keel::arch
