#include "kernel/mm/page_table.h"

#include <arch/memory.h>

#include "kernel/core/machine.h"

namespace keel {

// SAFETY: every address passed here is that of a page table which this tree owns, and RAM is always mapped.
PageTable::Entry* PageTable::table(PhysAddr address) { return static_cast<Entry*>(phys_to_virt(address)); }

Frame& PageTable::frame_of(Cpu& cpu, const Entry* entry) const {
  return *cpu.machine.frames.frame(virt_to_phys(entry));
}

Result<void> PageTable::initialise(Cpu& cpu, ResourceGroup& group) {
  FrameAllocator& frames = cpu.machine.frames;
  Frame* frame = TRY(frames.allocate(cpu, group, 0, FrameUse::page_table));
  root_ = frames.address(frame);
  arch::zero_page(table(root_));
  arch::copy_kernel_half(table(root_));
  return Status::ok;
}

void PageTable::destroy(Cpu& cpu, ResourceGroup& group) {
  if (root_ == PhysAddr()) return;
  Frame* frame = cpu.machine.frames.frame(root_);
  if (frame->entries != 0) __builtin_trap();  // I1
  cpu.machine.frames.free(cpu, group, frame);
  root_ = PhysAddr();
}

// The entry for `at` at level `target`.
Result<void> PageTable::write_leaf(Cpu& cpu, ResourceGroup& group, VirtAddr at, Entry leaf, u32 target) {
  u32 level = kLevels - 1;
  Entry* e = &table(root_)[index(at, level)];
  Entry entry = arch::read_entry(e);
  while (level > target && arch::is_present(entry)) {
    if (arch::is_leaf(entry, level)) return Status::already_exists;
    --level;
    e = &table(arch::address_of(entry))[index(at, level)];
    entry = arch::read_entry(e);
  }
  if (!arch::is_present(entry)) {
    if (level > target) e = TRY(make_tables(cpu, group, at, e, level, target));
    ++frame_of(cpu, e).entries;
  } else if (!arch::is_leaf(entry, level) || arch::address_of(entry) != arch::address_of(leaf)) {
    return Status::already_exists;
  }
  arch::write_entry(e, leaf);
  return Status::ok;
}

// Makes the tables below `e`, at `level`, down to `target`; answers the entry for `at` in the last of them. All first,
// so that a failure changes nothing.
Result<PageTable::Entry*> PageTable::make_tables(Cpu& cpu, ResourceGroup& group, VirtAddr at, Entry* e, u32 level,
                                                 u32 target) {
  FrameAllocator& frames = cpu.machine.frames;
  Frame* fresh[kLevels - 1];
  u32 count = 0;
  for (u32 needed = level - target; count < needed; ++count) {
    Result<Frame*> frame = frames.allocate(cpu, group, 0, FrameUse::page_table);
    if (!frame.has_value()) {
      while (count > 0) frames.free(cpu, group, fresh[--count]);
      return frame.error();
    }
    fresh[count] = *frame;
  }
  while (count > 0) {
    Frame* frame = fresh[--count];
    Entry* below = table(frames.address(frame));
    arch::zero_page(below);
    arch::write_entry(e, arch::table_entry(frames.address(frame)));
    ++frame_of(cpu, e).entries;
    e = &below[index(at, --level)];
  }
  return e;
}

// Takes `count` entries out of the table at `level` and frees it, and those above it, if that was all (I1).
void PageTable::drop_entries(Cpu& cpu, VirtAddr at, Entry* const (&path)[kLevels], u32 level, u32 count,
                             TlbBatch& batch) {
  for (;; ++level, count = 1) {
    Frame& frame = frame_of(cpu, path[level]);
    frame.entries -= count;
    if (frame.entries != 0 || level == kLevels - 1) return;
    arch::write_entry(&path[level + 1][index(at, level + 1)], 0);
    batch.add_table(cpu, frame);
  }
}

template <bool kDropsTables, class Change>
VirtAddr PageTable::walk(Cpu& cpu, VirtAddr first, VirtAddr end, TlbBatch& batch, Budget& budget, Change change) {
  // Whether the table of leaves there goes as a whole: it lies inside.
  const auto drops = [end](VirtAddr at) {
    return kDropsTables && is_aligned(at.value, span(1)) && end - at >= span(1);
  };
  while (first < end && budget.spend(1)) {
    Entry* path[kLevels] = {};
    u32 level = kLevels - 1;
    const u32 lowest = drops(first) ? 1 : 0;
    path[level] = table(root_);
    Entry entry = arch::read_entry(&path[level][index(first, level)]);
    while (level > lowest && arch::is_present(entry) && !arch::is_leaf(entry, level)) {
      path[--level] = table(arch::address_of(entry));
      entry = arch::read_entry(&path[level][index(first, level)]);
    }
    // The rest of this table, as far as the range and the budget go.
    const u64 step = span(level);
    const VirtAddr table_first = first;
    first = VirtAddr(align_down(first.value, step));
    u32 cleared = 0;
    u32 i = index(first, level);
    do {
      Entry* e = &path[level][i];
      entry = arch::read_entry(e);
      if (arch::is_present(entry)) {
        const bool is_table = !arch::is_leaf(entry, level);
        if (is_table && (level > 1 || !drops(first))) break;  // descend into it
        const Entry changed = change(entry, level, first);
        if (changed != entry) {
          arch::write_entry(e, changed);
          batch.add(first, step / kPageSize);
          if (!arch::is_present(changed)) ++cleared;
          if (is_table) batch.add_table(cpu, *cpu.machine.frames.frame(arch::address_of(entry)));
          budget.spend(is_table ? Budget::kPerTable : Budget::kPerPage);
        }
      }
      first = first + step;
    } while (first < end && ++i < 512 && budget.spend(1));
    if (cleared > 0) drop_entries(cpu, table_first, path, level, cleared, batch);
  }
  return first < end ? first : end;
}

VirtAddr PageTable::unmap(Cpu& cpu, VirtAddr first, VirtAddr end, TlbBatch& batch, Budget& budget) {
  return walk<true>(cpu, first, end, batch, budget, [](Entry, u32, VirtAddr) { return Entry{0}; });
}

VirtAddr PageTable::protect(Cpu& cpu, VirtAddr first, VirtAddr end, Protection protection, TlbBatch& batch,
                            Budget& budget) {
  if (protection == Protection::none) return unmap(cpu, first, end, batch, budget);
  const auto change = [first, end, protection](Entry entry, u32 level, VirtAddr leaf) {
    // A large leaf that reaches beyond the range goes; what is outside comes back by a fault.
    if (leaf < first || end < leaf + span(level)) return Entry{0};
    MapFlags flags = arch::flags_of(entry);
    flags.protection = protection;
    return arch::leaf_entry(arch::address_of(entry), flags, level > 0);
  };
  return walk<false>(cpu, first, end, batch, budget, change);
}

}  // namespace keel
