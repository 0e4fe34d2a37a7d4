// Fake page tables: entries of our own shape; a test may watch what would leave the TLB. "Physical" addresses are host
// addresses.
#pragma once

#include "base/types.h"
#include "kernel/mm/protection.h"

namespace keel::arch {

using PageEntry = u64;

namespace page {
inline constexpr PageEntry kPresent = 1 << 0;
inline constexpr PageEntry kLeaf = 1 << 1;
inline constexpr PageEntry kUser = 1 << 2;
inline constexpr u32 kProtectionShift = 3;
inline constexpr u32 kCacheShift = 6;
inline constexpr PageEntry kAddress = 0x000f'ffff'ffff'f000;
}  // namespace page

constexpr bool is_present(PageEntry e) { return (e & page::kPresent) != 0; }
constexpr bool is_leaf(PageEntry e, u32) { return (e & page::kLeaf) != 0; }
constexpr PhysAddr address_of(PageEntry e) { return PhysAddr(e & page::kAddress); }
constexpr PageEntry table_entry(PhysAddr table) { return table.value | page::kPresent; }
constexpr PageEntry leaf_entry(PhysAddr to, MapFlags flags, bool) {
  return to.value | page::kPresent | page::kLeaf | (flags.user ? page::kUser : 0) |
         PageEntry(flags.protection) << page::kProtectionShift | PageEntry(flags.cache) << page::kCacheShift;
}
constexpr MapFlags flags_of(PageEntry e) {
  return {.protection = Protection(e >> page::kProtectionShift & 7),
          .cache = CacheMode(e >> page::kCacheShift & 3),
          .user = (e & page::kUser) != 0};
}

inline PageEntry read_entry(const PageEntry* e) { return __atomic_load_n(e, __ATOMIC_RELAXED); }
inline void write_entry(PageEntry* e, PageEntry value) { __atomic_store_n(e, value, __ATOMIC_RELEASE); }

inline constexpr u32 kUserRootEntries = 256;
inline void copy_kernel_half(PageEntry*) {}

class TlbObserver {
 public:
  virtual ~TlbObserver() = default;
  virtual void invalidated(VirtAddr page) = 0;
  virtual void invalidated_all() = 0;
};
inline thread_local TlbObserver* tlb_observer = nullptr;

inline void load_root(PhysAddr) {}
inline void invalidate_page(VirtAddr at) {
  if (tlb_observer != nullptr) tlb_observer->invalidated(at);
}
inline void invalidate_all() {
  if (tlb_observer != nullptr) tlb_observer->invalidated_all();
}

}  // namespace keel::arch
