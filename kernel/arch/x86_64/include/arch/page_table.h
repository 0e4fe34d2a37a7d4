// Page table entries of x86-64 (Intel SDM 3A, 4.5), and the TLB of this CPU.
#pragma once

#include "base/types.h"
#include "kernel/mm/protection.h"

namespace keel::arch {

using PageEntry = u64;

namespace page {
inline constexpr PageEntry kPresent = 1 << 0;
inline constexpr PageEntry kWritable = 1 << 1;
inline constexpr PageEntry kUser = 1 << 2;
inline constexpr PageEntry kWriteThrough = 1
                                           << 3;  // PAT entry 1, which initialise_cpu_memory() sets to write-combining
inline constexpr PageEntry kCacheDisable = 1 << 4;  // with kWriteThrough PAT entry 3: uncached
inline constexpr PageEntry kAccessed = 1 << 5;
inline constexpr PageEntry kDirty = 1 << 6;
inline constexpr PageEntry kLarge = 1 << 7;
inline constexpr PageEntry kGlobal = 1 << 8;
inline constexpr PageEntry kNoExecute = PageEntry{1} << 63;
inline constexpr PageEntry kAddress = 0x000f'ffff'ffff'f000;
}  // namespace page

constexpr bool is_present(PageEntry e) { return (e & page::kPresent) != 0; }
constexpr bool is_leaf(PageEntry e, u32 level) { return level == 0 || (e & page::kLarge) != 0; }
constexpr PhysAddr address_of(PageEntry e) { return PhysAddr(e & page::kAddress); }
constexpr PageEntry table_entry(PhysAddr table) {
  return table.value | page::kPresent | page::kWritable | page::kUser | page::kAccessed;
}
// `flags.protection` allows at least reading. Accessed and dirty are set: nothing reads them yet.
constexpr PageEntry leaf_entry(PhysAddr to, MapFlags flags, bool large) {
  PageEntry e = to.value | page::kPresent | page::kAccessed | page::kDirty;
  if (allows(flags.protection, Access::write)) e |= page::kWritable;
  if (!allows(flags.protection, Access::execute)) e |= page::kNoExecute;
  e |= flags.user ? page::kUser : page::kGlobal;
  if (flags.cache != CacheMode::write_back) e |= page::kWriteThrough;
  if (flags.cache == CacheMode::uncached) e |= page::kCacheDisable;
  if (large) e |= page::kLarge;
  return e;
}
constexpr MapFlags flags_of(PageEntry e) {
  const bool write = (e & page::kWritable) != 0;
  const bool execute = (e & page::kNoExecute) == 0;
  return {.protection =
              Protection(u8(Access::read) | (write ? u8(Access::write) : 0) | (execute ? u8(Access::execute) : 0)),
          .cache = (e & page::kCacheDisable) != 0   ? CacheMode::uncached
                   : (e & page::kWriteThrough) != 0 ? CacheMode::write_combining
                                                    : CacheMode::write_back,
          .user = (e & page::kUser) != 0};
}

// The page walker of another CPU reads entries, and sets bits in them, at any time.
inline PageEntry read_entry(const PageEntry* e) { return __atomic_load_n(e, __ATOMIC_RELAXED); }
inline void write_entry(PageEntry* e, PageEntry value) { __atomic_store_n(e, value, __ATOMIC_RELEASE); }

// Root entries that belong to user space; the others are the kernel's and the same in every root.
inline constexpr u32 kUserRootEntries = 256;
void copy_kernel_half(PageEntry* root);

void load_root(PhysAddr root);
// SAFETY: dropping a translation is always allowed.
inline void invalidate_page(VirtAddr at) { asm volatile("invlpg (%0)" ::"r"(at.value) : "memory"); }
// Everything that is not global: all of user space.
void invalidate_all();

}  // namespace keel::arch
