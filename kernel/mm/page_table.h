// PageTable: the user half of one translation tree: four levels of 512 entries, leaves of 4 KiB and 2 MiB. The entries'
// bits come from <arch/page_table.h>; the code is the same on every architecture, and on the host.
//
// Invariants   I1 Frame::entries of a table is the number of its present entries; a table without any is freed (except
//                 the root), so page tables never outlive what they map.
//              I2 no leaf maps both writable and executable; page 0 up to kUserBase and the last page of the lower half
//                 (SYSRET would fault in kernel mode on a non-canonical address) are never mapped.
//              I3 entries for the kernel half are copied from the kernel's root, which has all of them from boot on.
// Locks        the address space's.
// Costs        map: one walk, 4 entry reads. unmap and protect skip what is absent table by table, and unmap drops a
// table
//              of 4 KiB leaves without looking into it; a Budget bounds them.
// Charges      tables as Resource::frames.
#pragma once

#include <optional>

#include <arch/page_table.h>

#include "base/result.h"
#include "kernel/mm/protection.h"
#include "kernel/mm/tlb_batch.h"

namespace keel {

class ResourceGroup;

inline constexpr VirtAddr kUserBase{0x10000};
inline constexpr VirtAddr kUserEnd{0x0000'7fff'ffff'f000};
inline constexpr u64 kLargePageSize = u64{2} << 20;
inline constexpr u64 kLargePages = kLargePageSize / kPageSize;

// How much one call may still do before it has to return: about 10 instructions a unit.
struct Budget {
  static constexpr i32 kStep = 512;
  static constexpr i32 kPerPage = 8;
  static constexpr i32 kPerTable = 24;
  i32 left = kStep;
  bool spend(i32 units) { return (left -= units) > 0; }
};

class PageTable {
 public:
  struct Mapping {
    PhysAddr address;  // of the byte asked for
    MapFlags flags;
    bool large = false;
  };

  PageTable() = default;
  PageTable(const PageTable&) = delete;
  PageTable& operator=(const PageTable&) = delete;

  // Makes the root. Errors: no_memory, quota_exceeded.
  Result<void> initialise(Cpu& cpu, ResourceGroup& group);
  // Frees the root; everything below it is unmapped already.
  void destroy(Cpu& cpu, ResourceGroup& group);
  PhysAddr root() const { return root_; }

  // Maps one page, or 2 MiB if `large` (both addresses aligned to it). A page that is mapped to the same frame gets the
  // new flags. Errors: no_memory, quota_exceeded, already_exists (mapped to something else; nothing changed).
  Result<void> map(Cpu& cpu, ResourceGroup& group, VirtAddr at, PhysAddr to, MapFlags flags, bool large = false) {
    return write_leaf(cpu, group, at, arch::leaf_entry(to, flags, large), large ? 1 : 0);
  }
  // Clears [first, end) from the front until the budget ends; answers how far it came. A 2 MiB leaf that lies partly
  // inside goes as a whole: what is outside comes back by a fault.
  VirtAddr unmap(Cpu& cpu, VirtAddr first, VirtAddr end, TlbBatch& batch, Budget& budget);
  // The same for changing the protection of what is present. Protection::none clears.
  VirtAddr protect(Cpu& cpu, VirtAddr first, VirtAddr end, Protection protection, TlbBatch& batch, Budget& budget);
  // Only tests have it (machine_rig_test.h).
  std::optional<Mapping> lookup(VirtAddr at) const;

 private:
  using Entry = arch::PageEntry;
  static constexpr u32 kLevels = 4;  // level 3 is the root, level 0 holds 4 KiB leaves

  static constexpr u64 span(u32 level) { return kPageSize << (9 * level); }
  static u32 index(VirtAddr at, u32 level) { return u32(at.value >> (kPageShift + 9 * level)) & 511; }
  static Entry* table(PhysAddr address);
  Frame& frame_of(Cpu& cpu, const Entry* entry) const;  // of the table that it lies in
  Result<void> write_leaf(Cpu& cpu, ResourceGroup& group, VirtAddr at, Entry leaf, u32 target);
  Result<Entry*> make_tables(Cpu& cpu, ResourceGroup& group, VirtAddr at, Entry* e, u32 level, u32 target);
  void drop_entries(Cpu& cpu, VirtAddr at, Entry* const (&path)[kLevels], u32 level, u32 count, TlbBatch& batch);
  template <bool kDropsTables, class Change>
  VirtAddr walk(Cpu& cpu, VirtAddr first, VirtAddr end, TlbBatch& batch, Budget& budget, Change change);

  PhysAddr root_;
};

}  // namespace keel
