#include <arch/early_console.h>

#include <cstdio>

namespace keel::arch {

void early_console_init() {}
void early_console_write(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

}  // namespace keel::arch
