#include "kernel/mm/page_table.h"

#include <arch/memory.h>

#include "kernel/core/machine.h"

namespace keel {

// SAFETY: every address passed here is that of a page table which this tree owns, and RAM is always mapped.
PageTable::Entry* PageTable::table(PhysAddr address) { return static_cast<Entry*>(phys_to_virt(address)); }

Frame& PageTable::frame_of(Cpu& cpu, const Entry* table) const {
  return *cpu.machine.frames.frame(virt_to_phys(table));
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

Result<void> PageTable::map(Cpu& cpu, ResourceGroup& group, VirtAddr at, PhysAddr to, MapFlags flags, bool large) {
  FrameAllocator& frames = cpu.machine.frames;
  const u32 target = large ? 1 : 0;
  u32 level = kLevels - 1;
  Entry* t = table(root_);
  Entry entry = arch::read_entry(&t[index(at, level)]);
  while (level > target && arch::is_present(entry)) {
    if (arch::is_leaf(entry, level)) return Status::already_exists;
    t = table(arch::address_of(entry));
    --level;
    entry = arch::read_entry(&t[index(at, level)]);
  }
  if (arch::is_present(entry)) {
    if (!arch::is_leaf(entry, level) || arch::address_of(entry) != to) return Status::already_exists;
    arch::write_entry(&t[index(at, level)], arch::leaf_entry(to, flags, large));
    return Status::ok;
  }
  // All tables first, so that a failure changes nothing.
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
  while (level > target) {
    Frame* frame = fresh[--count];
    Entry* below = table(frames.address(frame));
    arch::zero_page(below);
    arch::write_entry(&t[index(at, level)], arch::table_entry(frames.address(frame)));
    ++frame_of(cpu, t).entries;
    t = below;
    --level;
  }
  arch::write_entry(&t[index(at, level)], arch::leaf_entry(to, flags, large));
  ++frame_of(cpu, t).entries;
  return Status::ok;
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

template <class Change>
VirtAddr PageTable::walk(Cpu& cpu, VirtAddr first, VirtAddr end, TlbBatch& batch, Budget& budget, Change change) {
  while (first < end && budget.spend(1)) {
    Entry* path[kLevels] = {};
    u32 level = kLevels - 1;
    path[level] = table(root_);
    Entry entry = arch::read_entry(&path[level][index(first, level)]);
    while (arch::is_present(entry) && !arch::is_leaf(entry, level)) {
      path[--level] = table(arch::address_of(entry));
      entry = arch::read_entry(&path[level][index(first, level)]);
    }
    // The rest of this table, as far as the range and the budget go.
    const u64 step = span(level);
    const VirtAddr table_first = first;
    u32 cleared = 0;
    do {
      Entry* e = &path[level][index(first, level)];
      entry = arch::read_entry(e);
      if (arch::is_present(entry)) {
        if (!arch::is_leaf(entry, level)) break;  // a table: descend into it
        const Entry changed = change(entry, level, VirtAddr(align_down(first.value, step)));
        if (changed != entry) {
          arch::write_entry(e, changed);
          batch.add(VirtAddr(align_down(first.value, step)), step / kPageSize);
          if (!arch::is_present(changed)) ++cleared;
          budget.spend(Budget::kPerPage);
        }
      }
      first = VirtAddr(align_down(first.value, step) + step);
    } while (first < end && index(first, level) != 0 && budget.spend(1));
    if (cleared > 0) drop_entries(cpu, table_first, path, level, cleared, batch);
  }
  return first < end ? first : end;
}

VirtAddr PageTable::unmap(Cpu& cpu, VirtAddr first, VirtAddr end, TlbBatch& batch, Budget& budget) {
  return walk(cpu, first, end, batch, budget, [](Entry, u32, VirtAddr) { return Entry{0}; });
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
  return walk(cpu, first, end, batch, budget, change);
}

std::optional<PageTable::Mapping> PageTable::lookup(VirtAddr at) const {
  const Entry* t = table(root_);
  for (u32 level = kLevels - 1;; --level) {
    const Entry entry = arch::read_entry(&t[index(at, level)]);
    if (!arch::is_present(entry)) return std::nullopt;
    if (arch::is_leaf(entry, level)) {
      return Mapping{arch::address_of(entry) + (at.value & (span(level) - 1)), arch::flags_of(entry), level > 0};
    }
    t = table(arch::address_of(entry));
  }
}

}  // namespace keel
