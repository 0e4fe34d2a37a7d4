#include "kernel/mm/memory_object.h"

#include <arch/memory.h>

#include <bit>

#include "kernel/core/machine.h"
#include "kernel/mm/address_space.h"

namespace keel {
namespace {

// SAFETY: `node` is a radix node: a frame that its object owns, filled with slots.
u64* slots_of(u64 node) { return static_cast<u64*>(phys_to_virt(PhysAddr(node))); }

constexpr u32 shift_of(u32 level) { return 9 * level; }

constexpr i32 kVisit = 48;  // in units of Budget: what a region costs, and what has to be left for a copied node
constexpr i32 kNode = 320;

// Gives up one of the slots that lead to the frame. True: it was the last, and the caller's alone.
bool was_last(Frame& frame) {
  if (frame.shares.load(kAcquire) == 0) return true;  // pairs with the next line: what others did to it is over
  if (frame.shares.fetch_sub(1, kAcqRel) != 0) return false;
  frame.shares.store(0, kRelaxed);  // two gave it up at once
  return true;
}

}  // namespace

MemoryObject::MemoryObject(ResourceGroup& group, Form form, PhysAddr base, u64 pages, CacheMode cache, u64 source)
    : KObject(ObjectKind::memory, group),
      base_(base),
      pages_(pages),
      source_(source),
      form_(form),
      cache_(cache),
      levels_(u8(levels_for(pages))) {}

Result<RefPtr<MemoryObject>> MemoryObject::create(Cpu& cpu, ResourceGroup& group, Form form, PhysAddr base, u64 pages,
                                                  CacheMode cache, u64 source) {
  const u64 charge = charge_of(form, pages);
  TRY(group.charge(Resource::frames, charge));
  auto made = make<MemoryObject>(cpu, group, group, form, base, pages, cache, source);
  if (!made.has_value()) {
    group.uncharge(Resource::frames, charge);
    return made.error();
  }
  return RefPtr<MemoryObject>::adopt(*made);
}

Result<RefPtr<MemoryObject>> MemoryObject::create_anonymous(Cpu& cpu, ResourceGroup& group, u64 pages) {
  if (pages == 0) return Status::invalid_argument;
  if (pages > kMaxPages) return Status::too_big;
  return create(cpu, group, Form::anonymous, PhysAddr(), pages, CacheMode::write_back);
}

Result<RefPtr<MemoryObject>> MemoryObject::create_clone(Cpu& cpu, ResourceGroup& group, const MemoryObject& source) {
  if (source.form_ != Form::anonymous) return Status::not_supported;
  return create(cpu, group, Form::anonymous, PhysAddr(), source.pages_, CacheMode::write_back, source.id());
}

Result<RefPtr<MemoryObject>> MemoryObject::create_contiguous(Cpu& cpu, ResourceGroup& group, u64 pages) {
  if (pages == 0) return Status::invalid_argument;
  if (pages > kMaxContiguous) return Status::too_big;
  FrameAllocator& frames = cpu.machine.frames;
  Frame* frame = TRY(frames.take(cpu, u32(std::bit_width(pages - 1)), FrameUse::user));
  frames.trim(cpu, frame, pages);
  auto object = create(cpu, group, Form::contiguous, frames.address(frame), pages, CacheMode::write_back);
  if (!object.has_value()) frames.give_span(cpu, frame, pages);
  return object;
}

Result<RefPtr<MemoryObject>> MemoryObject::create_physical(Cpu& cpu, ResourceGroup& group, PhysAddr base, u64 pages,
                                                           CacheMode cache) {
  if (pages == 0) return Status::invalid_argument;
  if (!is_aligned(base.value, kPageSize)) return Status::misaligned;
  const u64 limit = kMaxPhysicalPages;
  if (pages > limit || (base.value >> kPageShift) > limit - pages) return Status::out_of_range;
  return create(cpu, group, Form::physical, base, pages, cache);
}

Result<RefPtr<MemoryObject>> MemoryObject::create_boot_module(Cpu& cpu, ResourceGroup& group, PhysAddr base,
                                                              u64 pages) {
  if (pages == 0) return Status::invalid_argument;
  if (!is_aligned(base.value, kPageSize)) return Status::misaligned;
  return create(cpu, group, Form::boot_module, base, pages, CacheMode::write_back);
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

MemoryObject::View MemoryObject::find(Cpu& cpu, u64 index) const {
  u64 shared = 0;
  u32 level = levels_;
  for (const Slot* s = &root_[index >> shift_of(level)]; *s != 0;) {
    if (cpu.machine.frames.frame(PhysAddr(*s))->shares.load(kAcquire) != 0) shared = 1;  // pairs with was_last()
    if (level == 0) return {*s | shared};
    --level;
    s = &slots_of(*s)[(index >> shift_of(level)) % kFanout];
  }
  return {};
}

[[gnu::always_inline]] inline Result<MemoryObject::Slot*> MemoryObject::own(Cpu& cpu, u64 index, bool may_share) {
  FrameAllocator& frames = cpu.machine.frames;
  u32 level = levels_;
  Slot* s = &root_[index >> shift_of(level)];
  while (level > 0) {
    if (*s == 0) {
      *s = frames.address(TRY(frames.take_zeroed(cpu, FrameUse::kernel))).value;
    } else if (may_share && frames.frame(PhysAddr(*s))->shares.load(kAcquire) != 0) {  // pairs with was_last()
      TRY(copy(cpu, *s, level));
      return Status::restart;
    }
    --level;
    s = &slots_of(*s)[(index >> shift_of(level)) % kFanout];
  }
  return s;
}

// A node, or at level 0 a page that is mapped nowhere, is replaced by a copy for this object alone.
Result<void> MemoryObject::copy(Cpu& cpu, Slot& slot, u32 level) {
  FrameAllocator& frames = cpu.machine.frames;
  Frame& old = *frames.frame(PhysAddr(slot));
  const Slot* from = slots_of(slot);
  slot = frames.address(TRY(frames.take(cpu, 0, old.use))).value;
  arch::copy_page(slots_of(slot), from);
  const auto count = [&](u32 change) {
    for (u64 i = 0; level > 0 && i < kFanout; ++i) {
      if (from[i] != 0) frames.frame(PhysAddr(from[i]))->shares.fetch_add(change, kAcqRel);  // pairs with was_last()
    }
  };
  count(1);
  if (was_last(old)) {
    count(~u32{0});  // less one: the copy's slots stay
    frames.give(cpu, &old);
  }
  return Status::ok;
}

Result<MemoryObject::View> MemoryObject::make_page(Cpu& cpu, u64 index, Slot& slot) {
  PhysAddr address = base_ + index * kPageSize;
  if (form_ == Form::anonymous) {
    FrameAllocator& frames = cpu.machine.frames;
    address = frames.address(TRY(frames.take_zeroed(cpu, FrameUse::user)));
  } else {
    arch::zero_page(phys_to_virt(address));
  }
  slot = address.value;
  committed_.fetch_add(1, kRelaxed);
  return View{slot};
}

// Of an object that may share pages.
Result<MemoryObject::View> MemoryObject::view_shared(Cpu& cpu, u64 index, Access access) {
  if (is_withdrawn(index)) return Status::restart;
  const View view = find(cpu, index);
  if (view.shared() && access == Access::write) {
    if (count_ == 0) begin_withdrawal(index, 1);
    return Status::restart;
  }
  if (view.bits != 0) return view;
  return make_page(cpu, index, *TRY(own(cpu, index, true)));
}

[[gnu::always_inline]] inline Result<MemoryObject::View> MemoryObject::view_locked(Cpu& cpu, u64 index, Access access) {
  if (!owns_frames()) {
    const PhysAddr address = base_ + index * kPageSize;
    if (form_ == Form::physical && cpu.machine.frames.overlaps_ram({address, kPageSize})) return Status::bad_address;
    return View{address.value};
  }
  if (may_share_.load(kRelaxed)) [[unlikely]]
    return view_shared(cpu, index, access);
  Slot* s = TRY(own(cpu, index, false));
  return *s != 0 ? View{*s} : make_page(cpu, index, *s);
}

Result<MemoryObject::View> MemoryObject::view(Cpu& cpu, u64 index, Access access) {
  if (index >= pages_) return Status::out_of_range;
  LockGuard guard(cpu, lock_);
  return view_locked(cpu, index, access);
}

Result<PhysAddr> MemoryObject::existing_page(Cpu& cpu, u64 index) {
  if (index >= pages_) return Status::out_of_range;
  LockGuard guard(cpu, lock_);
  if (!owns_frames()) return base_ + index * kPageSize;
  if (is_withdrawn(index)) return Status::restart;
  const View view = find(cpu, index);
  if (view.bits == 0) return Status::not_found;
  return view.address();
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
  if (may_share() && withdraw(cpu) == Status::no_memory) return Status::no_memory;
  LockGuard guard(cpu, lock_);
  for (i32 budget = kPinBatch; done < count && budget > 0; ++done) {
    const u64 before = committed_pages();
    const Result<View> view = view_locked(cpu, first + done, Access::write);
    budget -= committed_pages() != before ? kPinBatch / kZeroBatch : 1;  // what was zeroed costs more
    Status status = view.status();
    if (status == Status::ok && addresses != nullptr) addresses[done] = view->bits;
    if (status == Status::ok && addresses != nullptr && owns_frames()) {
      Frame* frame = cpu.machine.frames.frame(view->address());
      if (frame->pins == ~u32{0}) {
        status = Status::busy;
      } else {
        ++frame->pins;
      }
    }
    if (status != Status::ok) {
      if (done == 0 && status != Status::restart) return status;
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
      const View view = find(cpu, first + i);
      if (view.bits == 0) __builtin_trap();
      Frame* frame = cpu.machine.frames.frame(view.address());
      if (frame->pins-- == 0) __builtin_trap();  // never pinned
    }
  }
  pinned_.fetch_sub(some, kRelaxed);
  return some;
}

void MemoryObject::begin_withdrawal(u64 first, u64 count) {
  first_ = u32(first);
  count_ = u32(count);
  visit(regions_.front());
}

Result<void> MemoryObject::clone_into(Cpu& cpu, MemoryObject& clone) {
  {
    LockGuard guard(cpu, lock_);
    if (clone.may_share()) return Status::ok;  // another has done the last step
    if (pinned_pages() != 0) return Status::busy;
    if (count_ == 0) {
      may_share_.store(true, kRelaxed);
      clone_ = RefPtr<MemoryObject>(clone);
      begin_withdrawal(0, pages_);
    }
  }
  const Status status = withdraw(cpu);
  if (clone.may_share()) return Status::ok;
  return status == Status::ok ? Status::restart : status;  // it was another's
}

// Nobody sees the pages any more: all become shared, or the one gets a frame of its own.
Result<void> MemoryObject::finish_withdrawal(Cpu& cpu) {
  if (!clone_) {
    Slot& slot = *TRY(own(cpu, first_, true));
    // Not if the other has gone; pairs with was_last().
    if (cpu.machine.frames.frame(PhysAddr(slot))->shares.load(kAcquire) != 0) TRY(copy(cpu, slot, 0));
    return Status::ok;
  }
  const RefPtr<MemoryObject> clone = std::move(clone_);
  clone->lock_.assert_held();  // nobody else reaches it yet
  for (u32 i = 0; i < kInline; ++i) {
    clone->root_[i] = root_[i];
    if (root_[i] != 0) cpu.machine.frames.frame(PhysAddr(root_[i]))->shares.fetch_add(1, kRelaxed);
  }
  clone->committed_.store(committed_pages(), kRelaxed);
  clone->may_share_.store(true, kRelease);  // pairs with may_share(): its root is there
  return Status::ok;
}

Status MemoryObject::withdraw(Cpu& cpu) {
  for (Budget budget; budget.spend(kVisit);) {
    RefPtr<AddressSpace> space;
    u32 visit_number = 0;
    {
      LockGuard guard(cpu, lock_);
      if (count_ == 0) return Status::restart;
      if (visited_ == nullptr) {
        const Status status = budget.left < kNode ? Status::restart : finish_withdrawal(cpu).status();
        if (status != Status::restart) count_ = 0;
        return status;
      }
      visit_number = visit_;
      if (visited_->space->try_ref()) space = RefPtr<AddressSpace>::adopt(visited_->space);
    }
    u64 reached = kMaxPages;  // nobody runs there any more
    if (space) {
      TlbBatch batch(*space);
      reached = space->withdraw(cpu, *this, visit_number, batch, budget);
      batch.flush(cpu);
    }
    LockGuard guard(cpu, lock_);
    if (visit_number != visit_) continue;  // another CPU was faster
    cursor_ = reached;
    if (reached >= u64{first_} + count_) visit(regions_.next(*visited_));
  }
  return Status::restart;
}

u64 MemoryObject::clear(Cpu& cpu, u32 visit_number, PageTable& tables, bool flushes_due, TlbBatch& batch,
                        Budget& budget) {
  LockGuard guard(cpu, lock_);
  if (visit_ != visit_number) return 0;
  const Region& r = *visited_;
  const u64 from = cursor_ > first_ ? cursor_ : first_;
  const u64 last = r.first_page + r.pages;
  const u64 end = first_ + count_ < last ? first_ + count_ : last;
  if (from >= end) return kMaxPages;
  const VirtAddr zero(r.start.value - r.first_page * kPageSize);  // where page 0 would be
  const VirtAddr start = zero + from * kPageSize, stop = zero + end * kPageSize;
  VirtAddr reached = stop;
  if (end > r.first_page) reached = tables.unmap(cpu, from < r.first_page ? r.start : start, stop, batch, budget);
  // What another CPU has cleared and not flushed yet is flushed here, too, be it of a front that the region has lost.
  if (flushes_due) batch.add(start, (reached - start) / kPageSize);
  return reached == stop ? kMaxPages : (reached - zero) / kPageSize;
}

bool MemoryObject::release_step(Cpu& cpu) {
  if (!owns_frames()) return true;
  if (pinned_pages() != 0) __builtin_trap();  // I3
  FrameAllocator& frames = cpu.machine.frames;
  const u32 top = levels_;
  const bool may_share = may_share_.load(kRelaxed);
  LockGuard guard(cpu, lock_);
  for (i32 budget = kReleaseBatch; cursor_ < pages_; --budget) {
    if (budget == 0) return false;
    Slot* path[4];
    u32 level = top;
    path[top] = &root_[cursor_ >> shift_of(top)];
    while (level > 0 && *path[level] != 0) {
      if (may_share && !was_last(*frames.frame(PhysAddr(*path[level])))) {
        *path[level] = 0;
        break;
      }
      path[level - 1] = &slots_of(*path[level])[(cursor_ >> shift_of(level - 1)) % kFanout];
      --level;
    }
    if (level == 0 && *path[0] != 0) {
      Frame* frame = frames.frame(PhysAddr(*path[0]));
      if (form_ == Form::anonymous && (!may_share || was_last(*frame))) frames.give(cpu, frame);
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
  payer->uncharge(Resource::frames, charge_of(form_, pages_));
  destroy_object(cpu, *payer, this);
}

}  // namespace keel
