#include <arch/memory.h>
#include <arch/page_table.h>

#include "kernel/arch/x86_64/boot_layout.h"
#include "kernel/arch/x86_64/instructions.h"
#include "kernel/arch/x86_64/offsets.h"
#include "kernel/core/machine.h"
#include "kernel/platform/early.h"

// Laid out by kernel.ld; only their addresses mean something.
#define HIDDEN [[gnu::visibility("hidden")]]
extern "C" {
HIDDEN extern char kernel_image_start[], kernel_text_end[], kernel_rodata_end[], kernel_image_end[], boot_stack_guard[],
    entry_text[];
}

namespace keel::arch {

constinit u64 direct_map_base = 0;

namespace {

constexpr u64 kLarge = u64{2} << 20;
constexpr u64 kHuge = u64{1} << 30;
constexpr u64 kDirectMapSize = u64{64} << 40;
constexpr u32 kLevels = 4;

constinit PhysAddr root_table;
constinit PhysAddr image_base;
constinit u64 next_mmio = kMmioWindow;
constinit u64 next_stack = kStackWindow;

// Control register and CPUID bits: Intel SDM vol. 3A, 2.5, and vol. 2A, CPUID.
constexpr u64 kCr0WriteProtect = 1 << 16;
constexpr u64 kCr4GlobalPages = 1 << 7, kCr4Umip = 1 << 11, kCr4FsGsBase = 1 << 16, kCr4Smep = 1 << 20,
              kCr4Smap = 1 << 21;
constexpr u32 kMsrPat = 0x277, kMsrEfer = 0xc0000080;
constexpr u64 kEferNoExecute = 1 << 11;
// Entry 1 is write-combining instead of write-through; the others are as after reset.
constexpr u64 kPat = 0x0007'0106'0007'0106;

struct Features {
  bool global_pages, page_attributes, no_execute, huge_pages, fs_gs_base, smep, smap, umip;
};

Features features() {
  const CpuidResult basic = cpuid(1);
  const bool has_seven = cpuid(0).eax >= 7;
  const CpuidResult seven = has_seven ? cpuid(7) : CpuidResult{};
  const CpuidResult extended = cpuid(0x8000'0001);  // the boot code has checked that this leaf exists
  const auto bit = [](u32 word, u32 n) { return (word >> n & 1) != 0; };
  return {.global_pages = bit(basic.edx, 13),
          .page_attributes = bit(basic.edx, 16),
          .no_execute = bit(extended.edx, 20),
          .huge_pages = bit(extended.edx, 26),
          .fs_gs_base = bit(seven.ebx, 0),
          .smep = bit(seven.ebx, 7),
          .smap = bit(seven.ebx, 20),
          .umip = bit(seven.ecx, 2)};
}

// SAFETY: each sets bits that CPUID reports, of registers that only this file writes, except EFER and CR4, where other
// bits are kept.
void set_cr0(u64 bits) {
  u64 value;
  asm volatile("mov %%cr0, %0" : "=r"(value));
  asm volatile("mov %0, %%cr0" : : "r"(value | bits) : "memory");
}
// SAFETY: as above.
void set_cr4(u64 bits) {
  u64 value;
  asm volatile("mov %%cr4, %0" : "=r"(value));
  asm volatile("mov %0, %%cr4" : : "r"(value | bits) : "memory");
}
// SAFETY: as above.
u64 get_msr(u32 msr) {
  u32 low, high;
  asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
  return u64{high} << 32 | low;
}
// SAFETY: as above.
void set_msr(u32 msr, u64 value) {
  asm volatile("wrmsr" : : "c"(msr), "a"(u32(value)), "d"(u32(value >> 32)) : "memory");
}

// SAFETY: `table` is a page table of the kernel's, reached as all RAM is.
PageEntry* entries(PhysAddr table) { return static_cast<PageEntry*>(phys_to_virt(table)); }
u64 address_of_symbol(const char* symbol) { return reinterpret_cast<u64>(symbol); }
constexpr u64 span(u32 level) { return kPageSize << (9 * level); }

// Writes the leaf for `at` at `level` (0: 4 KiB, 1: 2 MiB, 2: 1 GiB). `make_table` answers Result<PhysAddr>.
template <class MakeTable>
Result<void> map_leaf(u64 at, PageEntry leaf, u32 level, MakeTable make_table) {
  PageEntry* table = entries(root_table);
  for (u32 l = kLevels - 1; l > level; --l) {
    PageEntry* e = &table[at / span(l) % 512];
    // No user bit in the kernel's half, whatever the leaf says.
    if (!is_present(*e)) write_entry(e, table_entry(TRY(make_table())) & ~page::kUser);
    table = entries(arch::address_of(*e));
  }
  write_entry(&table[at / span(level) % 512], leaf);
  return Status::ok;
}

constexpr MapFlags kernel_flags(Protection protection, CacheMode cache = CacheMode::write_back) {
  return {.protection = protection, .cache = cache, .user = false};
}

class Builder {
 public:
  Builder(EarlyAllocator& early, bool huge_pages) : early_(early), huge_pages_(huge_pages) {}

  // [from, end) of physical memory into the direct map, with the largest pages that fit.
  Result<void> direct_map(u64 window, u64 from, u64 end) {
    const MapFlags flags = kernel_flags(Protection::read_write);
    while (from < end) {
      u32 level = 0;
      if (is_aligned(from, kLarge) && end - from >= kLarge) level = 1;
      if (huge_pages_ && is_aligned(from, kHuge) && end - from >= kHuge) level = 2;
      TRY(leaf(window + from, leaf_entry(PhysAddr(from), flags, level > 0), level));
      from += span(level);
    }
    return Status::ok;
  }
  Result<void> image(const MemoryRange& image) {
    const u64 start = address_of_symbol(kernel_image_start);
    for (u64 at = start; at < address_of_symbol(kernel_image_end); at += kPageSize) {
      if (at == address_of_symbol(boot_stack_guard)) continue;
      const Protection protection = at < address_of_symbol(kernel_text_end)     ? Protection::read_execute
                                    : at < address_of_symbol(kernel_rodata_end) ? Protection::read
                                                                                : Protection::read_write;
      TRY(leaf(at, leaf_entry(image.base + (at - start), kernel_flags(protection), false), 0));
    }
    return Status::ok;
  }
  // I1: the table below the root entry of a window.
  Result<void> window(u64 at) {
    PageEntry* e = &entries(root_table)[at / span(3) % 512];
    if (!is_present(*e)) write_entry(e, table_entry(TRY(early_.take())) & ~page::kUser);
    return Status::ok;
  }

 private:
  Result<void> leaf(u64 at, PageEntry entry, u32 level) {
    return map_leaf(at, entry, level, [this] { return early_.take(); });
  }
  EarlyAllocator& early_;
  bool huge_pages_;
};

// One page of a window, with page tables from the frame allocator.
Result<void> map_window_page(Cpu& cpu, ResourceGroup& group, u64 at, PhysAddr to, MapFlags flags) {
  return map_leaf(at, leaf_entry(to, flags, false), 0, [&]() -> Result<PhysAddr> {
    Frame* frame = TRY(cpu.machine.frames.allocate(cpu, group, 0, FrameUse::page_table));
    const PhysAddr address = cpu.machine.frames.address(frame);
    zero_page(phys_to_virt(address));
    return address;
  });
}

// Maps whole pages around [base, base + bytes) at the next free place of the MMIO window.
Result<u64> map_in_window(Cpu& cpu, ResourceGroup& group, PhysAddr base, u64 bytes, MapFlags flags) {
  u64 end = 0;
  if (bytes == 0 || !checked_add(base.value, bytes, &end) || end > page::kAddress) return Status::out_of_range;
  const u64 first = align_down(base.value, kPageSize);
  const u64 pages = (end - first + kPageSize - 1) / kPageSize;
  const u64 at = next_mmio;
  for (u64 i = 0; i < pages; ++i) {
    TRY(map_window_page(cpu, group, at + i * kPageSize, PhysAddr(first + i * kPageSize), flags));
  }
  next_mmio = at + (pages + 1) * kPageSize;  // a guard page in between
  return at + (base.value - first);
}

}  // namespace

const char* missing_cpu_feature() {
  const Features f = features();
  if (!f.no_execute) return "no-execute pages (NX)";
  if (!f.page_attributes) return "page attributes (PAT)";
  if (!f.fs_gs_base) return "FSGSBASE";
  return nullptr;
}

void initialise_cpu_memory() {
  const Features f = features();
  set_msr(kMsrEfer, get_msr(kMsrEfer) | kEferNoExecute);
  set_msr(kMsrPat, kPat);
  set_cr0(kCr0WriteProtect);
  set_cr4((f.global_pages ? kCr4GlobalPages : 0) | (f.umip ? kCr4Umip : 0) | (f.fs_gs_base ? kCr4FsGsBase : 0) |
          (f.smep ? kCr4Smep : 0) | (f.smap ? kCr4Smap : 0));
}

Result<void> initialise_kernel_memory(const BootInfo& boot, EarlyAllocator& early, bool randomise) {
  root_table = TRY(early.take());
  u64 top = 0;
  const auto in_direct_map = [](const MemoryRange& r) {
    return r.kind == MemoryKind::usable || r.kind == MemoryKind::acpi_reclaimable;
  };
  for (const MemoryRange& r : boot.memory()) {
    if (in_direct_map(r) && r.base.value + r.length > top) top = r.base.value + r.length;
  }
  if (top > kDirectMapSize) return Status::out_of_range;
  const u64 places = (kDirectMapSize - top) / kHuge + 1;
  const u64 base = kDirectMap + (randomise ? boot.entropy[0] % places * kHuge : 0);

  Builder builder(early, features().huge_pages);
  const u64 image = boot.kernel_image.base.value;
  const u64 image_end = align_up(image + boot.kernel_image.length, kPageSize);
  for (const MemoryRange& r : boot.memory()) {
    if (!in_direct_map(r)) continue;
    // Firmware tables need not be page-aligned; RAM that fills no page is not used.
    const bool ram = r.kind == MemoryKind::usable;
    const u64 from = ram ? align_up(r.base.value, kPageSize) : align_down(r.base.value, kPageSize);
    const u64 end = ram ? align_down(r.base.value + r.length, kPageSize) : align_up(r.base.value + r.length, kPageSize);
    if (from >= end) continue;
    if (image < end && from < image_end) {  // I2
      if (from < image) TRY(builder.direct_map(base, from, image));
      if (image_end < end) TRY(builder.direct_map(base, image_end, end));
    } else {
      TRY(builder.direct_map(base, from, end));
    }
  }
  TRY(builder.image(boot.kernel_image));
  TRY(builder.window(kMmioWindow));
  TRY(builder.window(kStackWindow));
  TRY(builder.window(kEntryWindow));

  image_base = boot.kernel_image.base;
  load_kernel_root();
  direct_map_base = base;
  return Status::ok;
}

void load_kernel_root() { write_cr3(root_table.value); }
PhysAddr kernel_root() { return root_table; }

void copy_kernel_half(PageEntry* root) {
  const PageEntry* from = entries(root_table);
  for (u32 i = kUserRootEntries; i < 512; ++i) root[i] = from[i];
}

void load_root(PhysAddr root) { write_cr3(root.value); }
void invalidate_all() { write_cr3(read_cr3()); }

Result<volatile void*> map_mmio(Cpu& cpu, ResourceGroup& group, PhysAddr base, u64 bytes) {
  if (cpu.machine.frames.overlaps_ram({base, bytes})) return Status::bad_address;
  const u64 at = TRY(map_in_window(cpu, group, base, bytes, kernel_flags(Protection::read_write, CacheMode::uncached)));
  // SAFETY: just mapped, for this caller alone.
  return reinterpret_cast<volatile void*>(at);
}

Result<const void*> map_firmware(Cpu& cpu, ResourceGroup& group, PhysAddr base, u64 bytes) {
  if (cpu.machine.frames.overlaps_ram({base, bytes})) return phys_to_virt(base);
  const u64 at = TRY(map_in_window(cpu, group, base, bytes, kernel_flags(Protection::read)));
  // SAFETY: just mapped, read-only.
  return reinterpret_cast<const void*>(at);
}

PhysAddr image_address(const void* symbol) {
  // SAFETY: an address as a number, for arithmetic only.
  return image_base + (reinterpret_cast<u64>(symbol) - address_of_symbol(kernel_image_start));
}

Result<u64> map_entry(Cpu& cpu, ResourceGroup& group, u32 cpu_index, PhysAddr first_cpu_page) {
  const u64 at = kEntryWindow + u64{cpu_index} * 0x10000;
  for (u64 page = 0; page < ENTRY_TEXT_BYTES; page += kPageSize) {
    TRY(map_window_page(cpu, group, at + page, image_address(entry_text + page),
                        kernel_flags(Protection::read_execute)));
  }
  TRY(map_window_page(cpu, group, at + ENTRY_TEXT_BYTES, first_cpu_page, kernel_flags(Protection::read_write)));
  return at - address_of_symbol(entry_text);
}

Result<VirtAddr> allocate_stack(Cpu& cpu, ResourceGroup& group, u64 pages) {
  const u64 bottom = next_stack + kPageSize;  // above a guard page
  for (u64 i = 0; i < pages; ++i) {
    Frame* frame = TRY(cpu.machine.frames.allocate(cpu, group, 0));
    TRY(map_window_page(cpu, group, bottom + i * kPageSize, cpu.machine.frames.address(frame),
                        kernel_flags(Protection::read_write)));
  }
  next_stack = bottom + pages * kPageSize;
  return VirtAddr(next_stack);
}

}  // namespace keel::arch
