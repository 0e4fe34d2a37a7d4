// What the parent said in the start block.
#pragma once

#include <string_view>

#include "abi/start_block.h"
#include "base/types.h"

namespace keel {

std::string_view program_name();
u32 argument_count();
// Empty beyond the last.
std::string_view argument(u32 index);
// The value of an argument NAME=VALUE; empty if there is none.
std::string_view argument_value(std::string_view name);
// The capabilities of the start block, in its order.
u32 start_capability_count();
const StartCapability& start_capability(u32 index);
std::string_view start_capability_name(u32 index);

// Ends the process with this status. main's result goes here.
[[noreturn]] void exit_process(u64 status);
// Reports to the log and ends the process: for failures that nothing can be done about.
[[noreturn]] void fatal(std::string_view why);

inline constexpr u64 kExitFatal = 255;

}  // namespace keel
