// Direct boot (PVH), the part in C++. boot_prepare() runs at physical addresses before relocation, so it may use no
// pointer constant (tables of strings, virtual functions); boot_high() runs where the kernel was linked for, slid.
//
// The structures are those of Xen's public start_info.h; QEMU fills them in.
#include <arch/early_console.h>

#include "kernel/arch/x86_64/boot_layout.h"
#include "kernel/arch/x86_64/instructions.h"
#include "kernel/arch/x86_64/processor.h"
#include "kernel/platform/boot_info.h"
#include "kernel/platform/boot_options.h"

// Laid out by kernel.ld and boot.S; only their addresses mean something.
#define HIDDEN [[gnu::visibility("hidden")]]
extern "C" {
HIDDEN extern char kernel_image_start[], kernel_text_end[], kernel_rodata_end[], kernel_image_end[], boot_stack_guard[];
HIDDEN extern keel::u64 kernel_relr_start[], kernel_relr_end[];
HIDDEN extern char kernel_rela_start[], kernel_rela_end[];
HIDDEN extern keel::u64 boot_pml4[512];

keel::u64 boot_prepare(keel::u64 start_info);
[[noreturn]] void boot_high(keel::u64 start_info, keel::u64 slide, keel::u64 entry_tsc);
}

namespace keel::arch {
namespace {

constexpr u64 kLinkBase = KEEL_LINK_BASE;
constexpr u64 kLoadBase = KEEL_LOAD_BASE;
constexpr u64 kIdentityMapped = u64{4} << 30;
constexpr u64 kLargePage = u64{2} << 20;
constexpr u64 kSlideRange = u64{1} << 30;  // one page directory
constexpr u32 kStartInfoMagic = 0x336ec578;

struct StartInfo {
  u32 magic, version, flags, module_count;
  u64 modules, command_line, rsdp;
  u64 memory_map;  // from version 1 on
  u32 memory_map_entries, reserved;
};
struct StartModule {
  u64 address, size, command_line, reserved;
};
struct StartMemory {
  u64 address, size;
  u32 type, reserved;
};

// Intel SDM vol. 3A, 4.5: page table entries.
constexpr u64 kPresent = 1, kWritable = 2, kNoExecute = u64{1} << 63;

constexpr usize kImageTables = 8;  // 16 MiB of image; kernel.ld checks it
alignas(kPageSize) constinit u64 image_pdpt[512]{};
alignas(kPageSize) constinit u64 image_directory[512]{};
alignas(kPageSize) constinit u64 image_tables[kImageTables][512]{};

// A structure that the loader left at a physical address; null when it lies outside what is mapped.
// SAFETY: the first 4 GiB are mapped one to one until kernel_main() replaces the boot page tables, and nobody writes
// these structures any more.
template <class T>
const T* loader_data(u64 physical, u64 count = 1) {
  if (physical == 0 || physical >= kIdentityMapped || count > (kIdentityMapped - physical) / sizeof(T)) return nullptr;
  return reinterpret_cast<const T*>(physical);
}

// SAFETY: an address as a number, for arithmetic only.
u64 address_of(const void* pointer) { return reinterpret_cast<u64>(pointer); }

std::string_view command_line_of(const StartInfo& info) {
  const char* text = loader_data<char>(info.command_line, BootInfo::kMaxCommandLine);
  if (text == nullptr) return {};
  usize length = 0;
  while (length < BootInfo::kMaxCommandLine && text[length] != 0) ++length;
  return {text, length};
}

// Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
u64 split_mix(u64* state) {
  u64 z = (*state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// Numbers for the slide and for BootInfo::entropy: the CPU's generator mixed with the time stamp counter, or, with the
// option seed=N, the same ones at every boot. `purpose` keeps the two uses apart.
class BootRandom {
 public:
  BootRandom(std::string_view command_line, u64 purpose) {
    std::optional<u64> seed = boot_option_number(command_line, "seed");
    state_ = (seed ? *seed : read_tsc()) + purpose * 0x632be59bd9b4e019;
    use_generator_ = !seed && (cpuid(1).ecx & (1u << 30)) != 0;
  }
  u64 next() {
    u64 value = 0;
    if (use_generator_) {
      for (int i = 0; i < 10 && !read_random(&value); ++i) {  // Intel SDM vol. 1, 7.3.17.1: ten tries
      }
      state_ ^= read_tsc();
    }
    return split_mix(&state_) ^ value;
  }

 private:
  u64 state_;
  bool use_generator_;
};

u64 choose_slide(std::string_view command_line) {
  if (has_boot_option(command_line, "nokaslr")) return 0;
  u64 image = align_up(static_cast<u64>(kernel_image_end - kernel_image_start), kLargePage);
  u64 places = (kSlideRange - image) / kLargePage + 1;
  return BootRandom(command_line, 1).next() % places * kLargePage;
}

// Maps the image page by page with the rights of its part; the guard page below the boot stack stays unmapped.
void map_image(u64 slide) {
  u64 text_end = address_of(kernel_text_end), rodata_end = address_of(kernel_rodata_end);
  u64 start = address_of(kernel_image_start), end = address_of(kernel_image_end), guard = address_of(boot_stack_guard);
  for (u64 page = start; page < end; page += kPageSize) {
    if (page == guard) continue;
    u64 rights = page < text_end ? 0 : page < rodata_end ? kNoExecute : kNoExecute | kWritable;
    u64 index = (page - start) / kPageSize;
    image_tables[index / 512][index % 512] = page | rights | kPresent;
  }
  u64 first = slide / kLargePage;
  for (usize i = 0; i < kImageTables && first + i < 512; ++i) {
    image_directory[first + i] = address_of(image_tables[i]) | kWritable | kPresent;
  }
  image_pdpt[510] = address_of(image_directory) | kWritable | kPresent;
  boot_pml4[511] = address_of(image_pdpt) | kWritable | kPresent;
}

// SAFETY: `linked` comes from the image's own relocation records, so it lies inside the loaded image.
u64* loaded_word(u64 linked) { return reinterpret_cast<u64*>(linked - kLinkBase + kLoadBase); }

// Applies the relative relocations: RELR (System V gABI, "Relative Relocation Table") and, for what RELR cannot
// express, RELA.
void relocate(u64 slide) {
  u64 where = 0;
  for (const u64* entry = kernel_relr_start; entry != kernel_relr_end; ++entry) {
    if ((*entry & 1) == 0) {
      *loaded_word(*entry) += slide;
      where = *entry + sizeof(u64);
    } else {
      for (u64 bits = *entry >> 1, at = where; bits != 0; bits >>= 1, at += sizeof(u64)) {
        if ((bits & 1) != 0) *loaded_word(at) += slide;
      }
      where += 63 * sizeof(u64);
    }
  }
  struct Rela {
    u64 offset, info, addend;
  };
  // SAFETY: the linker filled this range of the image with Rela records.
  const Rela* end = reinterpret_cast<const Rela*>(kernel_rela_end);
  for (const Rela* rela = reinterpret_cast<const Rela*>(kernel_rela_start); rela != end; ++rela) {
    *loaded_word(rela->offset) = rela->addend + slide;
  }
}

MemoryKind memory_kind(u32 type) {
  switch (type) {  // ACPI 6.5, table 15.2
    case 1:
      return MemoryKind::usable;
    case 3:
      return MemoryKind::acpi_reclaimable;
    case 4:
      return MemoryKind::acpi_nvs;
    case 5:
      return MemoryKind::unusable;
    case 7:
      return MemoryKind::persistent;
    default:
      return MemoryKind::reserved;
  }
}

void read_start_info(const StartInfo& info, BootInfo& boot) {
  boot.rsdp = PhysAddr(info.rsdp);
  boot.set_command_line(command_line_of(info));
  if (info.module_count > 0) {
    if (const StartModule* module = loader_data<StartModule>(info.modules)) {
      boot.module = {PhysAddr(module->address), module->size};
    }
  }
  if (info.version < 1) return;
  if (const StartMemory* map = loader_data<StartMemory>(info.memory_map, info.memory_map_entries)) {
    for (u32 i = 0; i < info.memory_map_entries; ++i) {
      boot.add_memory({PhysAddr(map[i].address), map[i].size, memory_kind(map[i].type)});
    }
  }
}

}  // namespace
}  // namespace keel::arch

using namespace keel;
using namespace keel::arch;

u64 boot_prepare(u64 start_info) {
  const StartInfo* info = loader_data<StartInfo>(start_info);
  u64 slide =
      choose_slide(info != nullptr && info->magic == kStartInfoMagic ? command_line_of(*info) : std::string_view());
  map_image(slide);
  relocate(slide);
  return slide;
}

[[gnu::no_stack_protector]] void boot_high(u64 start_info, u64 slide, u64 entry_tsc) {
  // From here on code runs at high addresses only.
  boot_pml4[0] |= kNoExecute;
  write_cr3(read_cr3());
  early_console_init();
  const StartInfo* info = loader_data<StartInfo>(start_info);
  const bool is_ours = info != nullptr && info->magic == kStartInfoMagic;
  set_stack_canary(BootRandom(is_ours ? command_line_of(*info) : std::string_view(), 3).next());

  // On the stack rather than global: this frame never returns, and nothing but its owner can reach it.
  BootInfo boot;
  if (is_ours) read_start_info(*info, boot);
  u64 image_size = static_cast<u64>(kernel_image_end - kernel_image_start);
  boot.kernel_image = {PhysAddr(kLoadBase), image_size, MemoryKind::reserved};
  boot.kernel_slide = slide;
  boot.entry_tsc = entry_tsc;
  BootRandom random(boot.command_line(), 2);
  for (u64& word : boot.entropy) word = random.next();
  kernel_main(boot);
}
