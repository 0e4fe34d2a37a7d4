#include <arch/integrity.h>
#include <arch/memory.h>

#include "abi/calls.h"
#include "kernel/arch/x86_64/instructions.h"
#include "kernel/arch/x86_64/processor.h"
#include "kernel/core/machine.h"

#define HIDDEN [[gnu::visibility("hidden")]]
extern "C" {
HIDDEN extern char kernel_image_start[], kernel_rodata_end[], kernel_image_end[];
}

namespace keel::arch {

std::span<const std::byte> constant_image() {
  // SAFETY: laid out by kernel.ld, mapped and readable.
  return {reinterpret_cast<const std::byte*>(kernel_image_start), usize(kernel_rodata_end - kernel_image_start)};
}

bool is_in_direct_map(PhysAddr page) {
  return page < image_address(kernel_image_start) || page >= image_address(kernel_image_end);
}

void route_messages(Cpu& cpu, bool general) {
  Machine& machine = cpu.machine;
  for (u32 i = 0; i < machine.known_cpus; ++i) route_message_paths(*machine.cpus[i], general);
}

bool has_crc32c() { return (cpuid(1).ecx >> 20 & 1) != 0; }  // SSE4.2

u32 crc32c(std::span<const u64> words) {
  u64 sum = ~u32{0};
  // SAFETY: registers only; has_crc32c() was asked when the setting was turned on.
  for (const u64 word : words) asm("crc32q %1, %0" : "+r"(sum) : "r"(word));
  return ~u32(sum);
}

void interrupt_unmaskably(Cpu& to) { send_unmaskable(u32(to.arch.apic_id)); }

void change_constant(usize offset) {
  constexpr u64 kWriteProtect = 1 << 16;
  u64 cr0;
  // SAFETY: a test breaks what the kernel relies on, on purpose: write protection is off for one store.
  asm volatile("mov %%cr0, %0" : "=r"(cr0));
  asm volatile("mov %0, %%cr0" : : "r"(cr0 & ~kWriteProtect) : "memory");
  *reinterpret_cast<volatile char*>(kernel_image_start + offset) ^= 1;
  asm volatile("mov %0, %%cr0" : : "r"(cr0) : "memory");
}

}  // namespace keel::arch
