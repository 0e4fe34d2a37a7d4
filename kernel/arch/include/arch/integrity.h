// What the mechanisms of kernel/platform ask of the machine.
#pragma once

#include <cstddef>
#include <span>

#include "base/types.h"

namespace keel {
class Cpu;
}

namespace keel::arch {

// The kernel's code and constants, whole pages that nobody changes after start-up. On the host: a few pages of their
// own.
std::span<const std::byte> constant_image();
// Whether phys_to_virt() reaches this page of RAM; the kernel's own image is elsewhere.
bool is_in_direct_map(PhysAddr page);
// Makes all CPUs take the general way for calls that carry messages, or their fast paths again.
void route_messages(Cpu& cpu, bool general);
// CRC-32C (Castagnoli) of words, one instruction each.
bool has_crc32c();
u32 crc32c(std::span<const u64> words);
// Interrupts another CPU even if it lets no interrupts in; one that is in the kernel then panics.
void interrupt_unmaskably(Cpu& to);

// For tests of all that (<arch/start.h>): changes a byte of constant_image().
void change_constant(usize offset);

}  // namespace keel::arch
