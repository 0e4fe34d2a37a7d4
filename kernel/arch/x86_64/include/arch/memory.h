// The kernel's own half of the address space on x86-64.
//
//   kDirectMap + slide   all RAM and the firmware's tables, writable, never executable, without the kernel image
//   kMmioWindow          device registers the kernel itself uses, uncached
//   kStackWindow         one stack per CPU, each between two guard pages
//   kEntryWindow         for each CPU the entry code and the first page of its Cpu (entry.S)
//   kKernelBase + slide  the kernel image: text r-x, rodata r--, data rw-
//
// Invariants   I1 all root entries of this half that are ever used exist from initialise_kernel_memory() on and never
// change, so that
//                 every address space can copy them.
//              I2 no page is mapped both writable and executable, at any two addresses (the image has no alias).
#pragma once

#include "base/result.h"
#include "base/types.h"

namespace keel {

class BootInfo;
class Cpu;
class EarlyAllocator;
class ResourceGroup;

namespace arch {

inline constexpr u64 kDirectMap = 0xffff'8000'0000'0000;  // 64 TiB, up to 0xffff'c000'0000'0000
inline constexpr u64 kStackWindow = 0xffff'e000'0000'0000;
inline constexpr u64 kMmioWindow = 0xffff'e800'0000'0000;
inline constexpr u64 kEntryWindow = 0xffff'f000'0000'0000;

// Set once, at boot: 0 while the boot code's identity map is in force.
extern constinit u64 direct_map_base;

inline void zero_page(void* page) {
  // SAFETY: the caller owns the page.
  u64 words = kPageSize / 8;
  asm volatile("rep stosq" : "+D"(page), "+c"(words) : "a"(0) : "memory");
}
inline void copy_page(void* to, const void* from) {
  // SAFETY: as above; nobody writes to `from` meanwhile.
  u64 words = kPageSize / 8;
  asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}

// Whether this CPU can run Keel, and the name of the first feature it lacks.
const char* missing_cpu_feature();
// NX, write protection, SMEP, SMAP, UMIP, global pages, FSGSBASE, page attributes: each as CPUID offers it. Every CPU.
void initialise_cpu_memory();
// Builds and loads the kernel's page tables; on return the identity map is gone and phys_to_virt() works for all RAM.
// `randomise` is off with the boot option nokaslr. Errors: no_memory.
Result<void> initialise_kernel_memory(const BootInfo& boot, EarlyAllocator& early, bool randomise);
// Loads the page tables that initialise_kernel_memory() made: on every further CPU.
void load_kernel_root();
PhysAddr kernel_root();

// Registers of a device that the kernel itself drives. Never unmapped; boot only, one CPU. Page tables come from
// `frames` charged to `group`. Errors: no_memory, quota_exceeded.
Result<volatile void*> map_mmio(Cpu& cpu, ResourceGroup& group, PhysAddr base, u64 bytes);
// Tables that the firmware left in memory which is not RAM, read-only; in RAM they are in the direct map already.
Result<const void*> map_firmware(Cpu& cpu, ResourceGroup& group, PhysAddr base, u64 bytes);
// A kernel stack of `pages` between two guard pages; answers its top. Never freed; boot only, one CPU.
Result<VirtAddr> allocate_stack(Cpu& cpu, ResourceGroup& group, u64 pages);

// Maps the entry code for a CPU and answers how far that is from where the image has it. Boot only.
// Errors: no_memory, quota_exceeded.
Result<u64> map_entry(Cpu& cpu, ResourceGroup& group, u32 cpu_index, PhysAddr first_cpu_page);
// Where a part of the kernel's image lies.
PhysAddr image_address(const void* symbol);

}  // namespace arch

// SAFETY: all RAM is in the direct map; whoever owns the frame may reach it there.
inline void* phys_to_virt(PhysAddr address) { return reinterpret_cast<void*>(arch::direct_map_base + address.value); }
// Of an address in the direct map.
inline PhysAddr virt_to_phys(const void* address) {
  return PhysAddr(reinterpret_cast<u64>(address) - arch::direct_map_base);
}

}  // namespace keel
