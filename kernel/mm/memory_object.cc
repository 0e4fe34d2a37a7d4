#include "kernel/mm/memory_object.h"

#include <arch/memory.h>

#include <bit>

#include "kernel/core/machine.h"
#include "kernel/mm/page_table.h"

namespace keel {
namespace {

// SAFETY: `node` is a radix node: a frame that its object owns, filled with slots.
u64* slots_of(u64 node) { return static_cast<u64*>(phys_to_virt(PhysAddr(node))); }

constexpr u32 shift_of(u32 level) { return 9 * level; }

}  // namespace

MemoryObject::MemoryObject(ResourceGroup& group, Form form, PhysAddr base, u64 pages, CacheMode cache, u64 charged)
    : KObject(ObjectKind::memory, group),
      base_(base),
      pages_(pages),
      charged_(charged),
      form_(form),
      cache_(cache),
      levels_(u8(levels_for(pages))) {}

Result<RefPtr<MemoryObject>> MemoryObject::create(Cpu& cpu, ResourceGroup& group, Form form, PhysAddr base, u64 pages,
                                                  CacheMode cache, u64 charge) {
  TRY(group.charge(Resource::frames, charge));
  auto made = make<MemoryObject>(cpu, group, group, form, base, pages, cache, charge);
  if (!made.has_value()) {
    group.uncharge(Resource::frames, charge);
    return made.error();
  }
  return RefPtr<MemoryObject>::adopt(*made);
}

Result<RefPtr<MemoryObject>> MemoryObject::create_anonymous(Cpu& cpu, ResourceGroup& group, u64 pages) {
  if (pages == 0) return Status::invalid_argument;
  if (pages > kMaxPages) return Status::too_big;
  return create(cpu, group, Form::anonymous, PhysAddr(), pages, CacheMode::write_back, pages + nodes_for(pages));
}

Result<RefPtr<MemoryObject>> MemoryObject::create_contiguous(Cpu& cpu, ResourceGroup& group, u64 pages) {
  if (pages == 0) return Status::invalid_argument;
  if (pages > kMaxContiguous) return Status::too_big;
  FrameAllocator& frames = cpu.machine.frames;
  Frame* frame = TRY(frames.take(cpu, u32(std::bit_width(pages - 1)), FrameUse::user));
  frames.trim(cpu, frame, pages);
  auto object = create(cpu, group, Form::contiguous, frames.address(frame), pages, CacheMode::write_back,
                       pages + nodes_for(pages));
  if (!object.has_value()) frames.give_span(cpu, frame, pages);
  return object;
}

Result<RefPtr<MemoryObject>> MemoryObject::create_physical(Cpu& cpu, ResourceGroup& group, PhysAddr base, u64 pages,
                                                           CacheMode cache) {
  if (pages == 0) return Status::invalid_argument;
  if (!is_aligned(base.value, kPageSize)) return Status::misaligned;
  const u64 limit = kMaxPhysicalPages;
  if (pages > limit || (base.value >> kPageShift) > limit - pages) return Status::out_of_range;
  return create(cpu, group, Form::physical, base, pages, cache, 0);
}

Result<RefPtr<MemoryObject>> MemoryObject::create_boot_module(Cpu& cpu, ResourceGroup& group, PhysAddr base,
                                                              u64 pages) {
  if (pages == 0) return Status::invalid_argument;
  if (!is_aligned(base.value, kPageSize)) return Status::misaligned;
  return create(cpu, group, Form::boot_module, base, pages, CacheMode::write_back, 0);
}

u32 MemoryObject::levels_for(u64 pages) {
  u32 level = 0;
  while (level < 3 && (kInline << shift_of(level)) < pages) ++level;
  return level;
}

// How many radix nodes an object of this size can need.
u64 MemoryObject::nodes_for(u64 pages) {
  u64 nodes = 0;
  for (u64 count = pages; count > kInline;) {
    count = (count + kFanout - 1) / kFanout;
    nodes += count;
  }
  return nodes;
}

MemoryObject::Slot* MemoryObject::slot(Cpu& cpu, u64 index, bool make) {
  u32 level = levels_;
  Slot* s = &root_[index >> shift_of(level)];
  while (level > 0) {
    if (*s == 0) {
      if (!make) return nullptr;
      FrameAllocator& frames = cpu.machine.frames;
      Result<Frame*> node = frames.take_zeroed(cpu, FrameUse::kernel);
      if (!node.has_value()) return nullptr;
      *s = frames.address(*node).value;
    }
    --level;
    s = &slots_of(*s)[(index >> shift_of(level)) % kFanout];
  }
  return s;
}

// Takes from `budget` what it costs: 1, or more if the page had to be zeroed.
Result<PhysAddr> MemoryObject::page_locked(Cpu& cpu, u64 index, i32& budget) {
  budget -= 1;
  if (!owns_frames()) {
    const PhysAddr address = base_ + index * kPageSize;
    if (form_ == Form::physical && cpu.machine.frames.overlaps_ram({address, kPageSize})) return Status::bad_address;
    return address;
  }
  Slot* s = slot(cpu, index, true);
  if (s == nullptr) return Status::no_memory;
  if (*s == 0) {
    PhysAddr address = base_ + index * kPageSize;
    if (form_ == Form::anonymous) {
      FrameAllocator& frames = cpu.machine.frames;
      address = frames.address(TRY(frames.take_zeroed(cpu, FrameUse::user)));
    } else {
      arch::zero_page(phys_to_virt(address));
    }
    *s = address.value;
    committed_.fetch_add(1, kRelaxed);
    budget -= kPinBatch / kZeroBatch - 1;
  }
  return PhysAddr(*s);
}

Result<PhysAddr> MemoryObject::page(Cpu& cpu, u64 index, Access) {
  if (index >= pages_) return Status::out_of_range;
  i32 budget = 0;
  LockGuard guard(cpu, lock_);
  return page_locked(cpu, index, budget);
}

Result<PhysAddr> MemoryObject::existing_page(Cpu& cpu, u64 index) {
  if (index >= pages_) return Status::out_of_range;
  LockGuard guard(cpu, lock_);
  if (!owns_frames()) return base_ + index * kPageSize;
  const Slot* s = slot(cpu, index, false);
  if (s == nullptr || *s == 0) return Status::not_found;
  return PhysAddr(*s);
}

std::optional<PhysAddr> MemoryObject::large_page(Cpu& cpu, u64 index) const {
  if (owns_frames() || index >= pages_ || pages_ - index < kLargePages) return std::nullopt;
  const PhysAddr address = base_ + index * kPageSize;
  if (!is_aligned(address.value, kLargePageSize)) return std::nullopt;
  if (form_ == Form::physical && cpu.machine.frames.overlaps_ram({address, kLargePageSize})) return std::nullopt;
  return address;
}

Result<u64> MemoryObject::fix(Cpu& cpu, u64 first, u64 count, u64* addresses) {
  if (first > pages_ || count > pages_ - first) return Status::out_of_range;
  u64 done = 0;
  LockGuard guard(cpu, lock_);
  for (i32 budget = kPinBatch; done < count && budget > 0; ++done) {
    Result<PhysAddr> address = page_locked(cpu, first + done, budget);
    Status status = address.status();
    if (status == Status::ok && addresses != nullptr) addresses[done] = address->value;
    if (status == Status::ok && addresses != nullptr && owns_frames()) {
      Frame* frame = cpu.machine.frames.frame(*address);
      if (frame->pins == ~u32{0}) {
        status = Status::busy;
      } else {
        ++frame->pins;
      }
    }
    if (status != Status::ok) {
      if (done == 0) return status;
      break;  // the caller goes on with this page, and hears about it then
    }
  }
  if (addresses != nullptr) pinned_.fetch_add(done, kRelaxed);
  return done;
}

Result<u64> MemoryObject::commit(Cpu& cpu, u64 first, u64 count) { return fix(cpu, first, count, nullptr); }
Result<u64> MemoryObject::pin(Cpu& cpu, u64 first, u64 count, u64* addresses) {
  return fix(cpu, first, count, addresses);
}

u64 MemoryObject::unpin(Cpu& cpu, u64 first, u64 count) {
  const u64 some = count < u64{kPinBatch} ? count : u64{kPinBatch};
  LockGuard guard(cpu, lock_);
  if (owns_frames()) {
    for (u64 i = 0; i < some; ++i) {
      const Slot* s = slot(cpu, first + i, false);
      if (s == nullptr || *s == 0) __builtin_trap();
      Frame* frame = cpu.machine.frames.frame(PhysAddr(*s));
      if (frame->pins-- == 0) __builtin_trap();  // never pinned
    }
  }
  pinned_.fetch_sub(some, kRelaxed);
  return some;
}

bool MemoryObject::release_step(Cpu& cpu) {
  if (!owns_frames()) return true;
  if (pinned_pages() != 0) __builtin_trap();  // I3
  FrameAllocator& frames = cpu.machine.frames;
  const u32 top = levels_;
  LockGuard guard(cpu, lock_);
  for (i32 budget = kReleaseBatch; cursor_ < pages_; --budget) {
    if (budget == 0) return false;
    Slot* path[4];
    u32 level = top;
    path[top] = &root_[cursor_ >> shift_of(top)];
    while (level > 0 && *path[level] != 0) {
      path[level - 1] = &slots_of(*path[level])[(cursor_ >> shift_of(level - 1)) % kFanout];
      --level;
    }
    if (level == 0 && *path[0] != 0) {
      if (form_ == Form::anonymous) frames.give(cpu, frames.frame(PhysAddr(*path[0])));
      *path[0] = 0;
    }
    cursor_ = ((cursor_ >> shift_of(level)) + 1) << shift_of(level);  // an absent subtree is passed as a whole
    for (u32 up = level + 1; up <= top; ++up) {
      if (cursor_ < pages_ && !is_aligned(cursor_, u64{1} << shift_of(up))) break;
      frames.give(cpu, frames.frame(PhysAddr(*path[up])));
      *path[up] = 0;
    }
  }
  if (form_ == Form::contiguous) frames.give_span(cpu, frames.frame(base_), pages_);
  return true;
}

void MemoryObject::destroy(Cpu& cpu) {
  const RefPtr<ResourceGroup> payer(group());
  payer->uncharge(Resource::frames, charged_);
  destroy_object(cpu, *payer, this);
}

}  // namespace keel
