// What the files of builtin commands share, and the commands that are in files of their own.
#pragma once

#include "user/apps/shell/shell.h"

namespace keel::shell {

// Prints how the command is used; its exit status.
u64 usage(std::string_view name);
// Decimal, or hexadecimal after 0x. Errors: invalid_argument.
Result<u64> number_of(std::string_view text);
// "kernel" for 0, "gone" for one that is no more.
FixedString<24> name_of_process(u64 pid);
// A process by number or name (the first that has it). Errors: not_found.
Result<u64> process_of(std::string_view text);
// "all", "-", or their names with blanks between.
FixedString<160> names_of_rights(ObjectKind kind, Rights rights);

u64 audit(Shell& shell, Words words);   // audit.cc
u64 capctl(Shell& shell, Words words);  // capctl.cc

}  // namespace keel::shell
