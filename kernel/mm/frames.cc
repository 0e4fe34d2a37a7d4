#include "kernel/mm/frames.h"

#include <arch/memory.h>
#include <arch/sanitizer.h>

#include <bit>

#include "kernel/core/machine.h"

namespace keel {
namespace {

constexpr u64 kBatch = Magazines::kFrames / 2;

// A short list of half-open ranges of frame numbers, ascending and disjoint.
template <class Range, usize N>
class RangeList {
 public:
  RangeList(Range (&ranges)[N], u32& count) : ranges_(ranges), count_(count) {}

  bool insert(Range range) {
    u32 at = 0;
    while (at < count_ && ranges_[at].end < range.first) ++at;
    while (at < count_ && ranges_[at].first <= range.end) {  // touches or overlaps: merge
      range.first = ranges_[at].first < range.first ? ranges_[at].first : range.first;
      range.end = ranges_[at].end > range.end ? ranges_[at].end : range.end;
      remove_at(at);
    }
    return insert_at(at, range);
  }
  bool subtract(Range hole) {
    for (u32 i = 0; i < count_; ++i) {
      Range& r = ranges_[i];
      if (r.end <= hole.first || hole.end <= r.first) continue;
      const Range tail{hole.end, r.end};
      const bool has_tail = tail.first < tail.end;
      r.end = hole.first;
      if (r.first < hole.first) {
        if (has_tail && !insert_at(i + 1, tail)) return false;
      } else if (has_tail) {
        r = tail;
      } else {
        remove_at(i--);
      }
    }
    return true;
  }

 private:
  bool insert_at(u32 at, Range range) {
    if (count_ == N) return false;
    for (u32 i = count_++; i > at; --i) ranges_[i] = ranges_[i - 1];
    ranges_[at] = range;
    return true;
  }
  void remove_at(u32 at) {
    for (--count_; at < count_; ++at) ranges_[at] = ranges_[at + 1];
  }
  Range (&ranges_)[N];
  u32& count_;
};

}  // namespace

// Runs before anybody else can reach the allocator.
Result<void> FrameAllocator::initialise(std::span<const PhysRange> ram, std::span<const PhysRange> in_use,
                                        u64 metadata_limit) NO_THREAD_SAFETY_ANALYSIS {
  for (u32& head : heads_) head = Frame::kNone;
  RangeList cold(cold_, cold_count_);
  for (const PhysRange& r : ram) {
    const u64 first = (r.base.value + kPageSize - 1) >> kPageShift;
    const u64 end = r.end().value >> kPageShift;
    if (first < end && !cold.insert({first, end})) return Status::out_of_range;
  }
  if (cold_count_ == 0) return Status::no_memory;
  for (u32 i = 0; i < cold_count_; ++i) {
    ram_[i] = {PhysAddr(cold_[i].first << kPageShift), (cold_[i].end - cold_[i].first) << kPageShift};
  }
  ram_count_ = cold_count_;
  base_ = align_down(cold_[0].first, kChunkFrames);
  span_ = align_up(cold_[cold_count_ - 1].end, kChunkFrames) - base_;
  if (span_ >= Frame::kNone) return Status::out_of_range;
  for (const PhysRange& r : in_use) {
    const u64 end = (r.end().value + kPageSize - 1) >> kPageShift;
    if (r.bytes != 0 && !cold.subtract({r.base.value >> kPageShift, end})) return Status::out_of_range;
  }

  const u64 metadata = align_up(span_ * sizeof(Frame), kPageSize) >> kPageShift;
  const u64 limit = metadata_limit == 0 ? ~u64{0} : metadata_limit >> kPageShift;
  u64 place = 0;
  u64 largest = 0;
  for (u32 i = 0; i < cold_count_; ++i) {
    const u64 end = cold_[i].end < limit ? cold_[i].end : limit;
    if (end < cold_[i].first + metadata || end - cold_[i].first <= largest) continue;
    largest = end - cold_[i].first;
    place = end - metadata;
  }
  if (place == 0) return Status::no_memory;
  if (!cold.subtract({place, place + metadata})) return Status::out_of_range;
  // SAFETY: the pages at `place` are RAM that nobody else uses; a Frame is made in them before it is read (I3).
  frames_ = static_cast<Frame*>(phys_to_virt(PhysAddr(place << kPageShift)));
  for (u32 i = 0; i < cold_count_; ++i) total_ += cold_[i].end - cold_[i].first;
  return Status::ok;
}

bool FrameAllocator::overlaps_ram(PhysRange range) const {
  for (u32 i = 0; i < ram_count_; ++i) {
    if (range.base < ram_[i].end() && ram_[i].base < range.end()) return true;
  }
  return false;
}

void FrameAllocator::push(Frame* frame, u32 order) {
  frame->use = FrameUse::none;
  frame->listed = true;
  frame->order = u8(order);
  frame->pins = 0;
  frame->previous = Frame::kNone;
  frame->next = heads_[order];
  if (frame->next != Frame::kNone) at(frame->next).previous = index(frame);
  heads_[order] = index(frame);
}

void FrameAllocator::remove(Frame* frame) {
  if (frame->next != Frame::kNone) at(frame->next).previous = frame->previous;
  (frame->previous != Frame::kNone ? at(frame->previous).next : heads_[frame->order]) = frame->next;
  frame->listed = false;
}

// Makes the frames of the next cold chunk known (I3). False if there is none.
bool FrameAllocator::warm_up() {
  if (cold_next_ == cold_count_) return false;
  const u64 chunk = align_down(cold_[cold_next_].first, kChunkFrames);
  Frame* metadata = &frames_[chunk - base_];
  for (u64 i = 0; i < kChunkFrames; ++i) new (&metadata[i]) Frame;
  while (cold_next_ < cold_count_ && cold_[cold_next_].first < chunk + kChunkFrames) {
    ColdRange& range = cold_[cold_next_];
    const u64 end = range.end < chunk + kChunkFrames ? range.end : chunk + kChunkFrames;
    while (range.first < end) {
      u32 order = u32(std::countr_zero(range.first | kChunkFrames));
      while (range.first + (u64{1} << order) > end) --order;
      give_locked(&frames_[range.first - base_], order);
      range.first += u64{1} << order;
    }
    if (range.first < range.end) break;
    ++cold_next_;
  }
  return true;
}

Frame* FrameAllocator::take_locked(u32 order) {
  u32 found = order;
  while (found <= kMaxOrder && heads_[found] == Frame::kNone) ++found;
  while (found > kMaxOrder) {
    if (!warm_up()) return nullptr;
    found = order;
    while (found <= kMaxOrder && heads_[found] == Frame::kNone) ++found;
  }
  Frame* frame = &at(heads_[found]);
  remove(frame);
  while (found > order) {
    --found;
    push(frame + (u64{1} << found), found);
  }
  frame->order = u8(order);
  return frame;
}

void FrameAllocator::give_locked(Frame* frame, u32 order) {
  u32 i = index(frame);
  for (; order < kMaxOrder; ++order) {
    Frame& buddy = at(i ^ (1u << order));
    if (!buddy.listed || buddy.order != order) break;
    remove(&buddy);
    i &= ~(1u << order);
  }
  push(&at(i), order);
}

Frame* FrameAllocator::block(Cpu& cpu, u32 order) {
  if (order != 0) {
    {
      LockGuard guard(cpu, lock_);
      if (Frame* frame = take_locked(order)) return frame;
    }
    drain(cpu);  // what this CPU holds back may complete a block
    LockGuard guard(cpu, lock_);
    return take_locked(order);
  }
  Magazines& m = cpu.magazines;
  if (m.frame_count_ == 0) {
    LockGuard guard(cpu, lock_);
    while (m.frame_count_ < kBatch) {
      Frame* frame = take_locked(0);
      if (frame == nullptr) break;
      m.frames_[m.frame_count_++] = frame;
    }
  }
  if (m.frame_count_ > 0) return m.frames_[--m.frame_count_];
  return m.zeroed_count_ > 0 ? m.zeroed_[--m.zeroed_count_] : nullptr;  // the last ones
}

Result<Frame*> FrameAllocator::take(Cpu& cpu, u32 order, FrameUse use) {
  if (order > kMaxOrder || cpu.machine.faults.should_fail()) return Status::no_memory;
  Frame* frame = block(cpu, order);
  if (frame == nullptr) return Status::no_memory;
  frame->use = use;
  frame->pins = 0;
  frame->shares.store(0, kRelaxed);
  count(use, u64{1} << order);
  arch::unpoison(phys_to_virt(address(frame)), kPageSize << order);
  return frame;
}

Result<Frame*> FrameAllocator::take_zeroed(Cpu& cpu, FrameUse use) {
  Magazines& m = cpu.magazines;
  if (m.zeroed_count_ == 0) {
    Frame* frame = TRY(take(cpu, 0, use));
    arch::zero_page(phys_to_virt(address(frame)));
    return frame;
  }
  if (cpu.machine.faults.should_fail()) return Status::no_memory;
  Frame* frame = m.zeroed_[--m.zeroed_count_];
  frame->use = use;
  count(use, 1);
  arch::unpoison(phys_to_virt(address(frame)), kPageSize);
  return frame;
}

bool FrameAllocator::zero_ahead(Cpu& cpu) {
  Magazines& m = cpu.magazines;
  if (m.zeroed_count_ == Magazines::kZeroed) return false;
  // Not when only zeroed ones are left.
  const u32 zeroed = m.zeroed_count_;
  Frame* frame = block(cpu, 0);
  if (frame == nullptr) return false;
  if (m.zeroed_count_ != zeroed) {
    m.zeroed_[m.zeroed_count_++] = frame;
    return false;
  }
  arch::unpoison(phys_to_virt(address(frame)), kPageSize);
  arch::zero_page(phys_to_virt(address(frame)));
  arch::poison(phys_to_virt(address(frame)), kPageSize);
  frame->pins = 0;
  frame->shares.store(0, kRelaxed);
  m.zeroed_[m.zeroed_count_++] = frame;
  return true;
}

PhysAddr FrameAllocator::take_spoilt(Cpu& cpu, u32 n) {
  Magazines& m = cpu.magazines;
  if (n >= m.zeroed_count_) return PhysAddr(0);
  Frame* frame = m.zeroed_[n];
  auto* words = static_cast<const u64*>(phys_to_virt(address(frame)));
  arch::unpoison(phys_to_virt(address(frame)), kPageSize);
  u64 any = 0;
  for (u32 i = 0; i < kPageSize / sizeof(u64); ++i) any |= words[i];
  arch::poison(phys_to_virt(address(frame)), kPageSize);
  if (any == 0) return PhysAddr(0);
  m.zeroed_[n] = m.zeroed_[--m.zeroed_count_];
  frame->use = FrameUse::kernel;
  count(FrameUse::kernel, 1);
  return address(frame);
}

void FrameAllocator::spoil_zeroed(Cpu& cpu) {
  if (cpu.magazines.zeroed_count_ == 0) return;
  u8* bytes = static_cast<u8*>(phys_to_virt(address(cpu.magazines.zeroed_[0])));
  arch::unpoison(bytes, kPageSize);
  bytes[77] = 1;
  arch::poison(bytes, kPageSize);
}

void FrameAllocator::give(Cpu& cpu, Frame* frame) {
  const u32 order = frame->order;
  if (frame->use == FrameUse::user && frame->pins != 0) __builtin_trap();  // Frame I2
  frame->pins = 0;  // whatever its user kept there: the frame may come back in the middle of a block
  uncount(frame->use, u64{1} << order);
  arch::poison(phys_to_virt(address(frame)), kPageSize << order);
  if (order != 0) {
    LockGuard guard(cpu, lock_);
    return give_locked(frame, order);
  }
  Magazines& m = cpu.magazines;
  if (m.frame_count_ == Magazines::kFrames) {
    LockGuard guard(cpu, lock_);
    while (m.frame_count_ > kBatch) give_locked(m.frames_[--m.frame_count_], 0);
  }
  m.frames_[m.frame_count_++] = frame;
}

Result<Frame*> FrameAllocator::allocate(Cpu& cpu, ResourceGroup& group, u32 order, FrameUse use) {
  TRY(group.charge(Resource::frames, u64{1} << order));
  Result<Frame*> frame = take(cpu, order, use);
  if (!frame.has_value()) group.uncharge(Resource::frames, u64{1} << order);
  return frame;
}

void FrameAllocator::free(Cpu& cpu, ResourceGroup& group, Frame* frame) {
  const u64 frames = u64{1} << frame->order;
  give(cpu, frame);
  group.uncharge(Resource::frames, frames);
}

void FrameAllocator::trim(Cpu& cpu, Frame* frame, u64 frames) {
  const u64 all = u64{1} << frame->order;
  LockGuard guard(cpu, lock_);
  for (u64 i = frames; i < all;) {
    const u32 order = u32(std::countr_zero(i));
    give_locked(frame + i, order);
    i += u64{1} << order;
  }
  uncount(frame->use, all - frames);
}

void FrameAllocator::give_span(Cpu& cpu, Frame* first, u64 frames) {
  uncount(first->use, frames);
  arch::poison(phys_to_virt(address(first)), frames * kPageSize);
  LockGuard guard(cpu, lock_);
  for (u64 i = 0; i < frames;) {
    const u32 order = u32(std::bit_width(frames - i)) - 1;
    give_locked(first + i, order);
    i += u64{1} << order;
  }
}

FrameAllocator::Statistics FrameAllocator::statistics() const {
  const auto used = [this](FrameUse use) { return used_[usize(use)].load(kRelaxed); };
  Statistics s{.total = total_,
               .free = 0,
               .kernel = used(FrameUse::kernel),
               .user = used(FrameUse::user),
               .page_table = used(FrameUse::page_table)};
  s.free = s.total - s.kernel - s.user - s.page_table;
  return s;
}

void FrameAllocator::drain(Cpu& cpu) {
  LockGuard guard(cpu, lock_);
  Magazines& m = cpu.magazines;
  while (m.frame_count_ > 0) give_locked(m.frames_[--m.frame_count_], 0);
  while (m.zeroed_count_ > 0) give_locked(m.zeroed_[--m.zeroed_count_], 0);
}

}  // namespace keel
