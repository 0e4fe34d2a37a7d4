#include "user/drivers/block_client.h"

#include <algorithm>
#include <cstring>

namespace keel {
namespace {

constexpr u64 kSlotMask = 0xff;  // of a request's id; the rest is its number

// Busy: requests of before are still at the device.
bool is_worth_retrying(Status status) {
  return status == Status::peer_died || status == Status::timed_out || status == Status::busy;
}

}  // namespace

Result<BlockDevice> BlockDevice::open(BlockTransport& transport) {
  if (transport.memory().size() < kMemoryPages * kPageSize) return Status::no_memory;
  BlockDevice device(transport);
  TRY(device.attach_until_it_works());
  return device;
}

Result<void> BlockDevice::attach() {
  attached_ = false;
  const std::span<std::byte> request_page = transport_.memory().first(kPageSize);
  const std::span<std::byte> completion_page = transport_.memory().subspan(kPageSize, kPageSize);
  TRY(format_ring<BlockRequest>(request_page, kBlockRingEntries));
  TRY(format_ring<BlockCompletion>(completion_page, kBlockRingEntries));
  requests_ = TRY(RingProducer<BlockRequest>::attach(request_page, kBlockRingEntries));
  completions_ = TRY(RingConsumer<BlockCompletion>::attach(completion_page, kBlockRingEntries));
  geometry_ = TRY(transport_.attach());
  if (geometry_.sector_bytes != kBlockSectorBytes || geometry_.sectors > ~u64{0} / kBlockSectorBytes) {
    return Status::not_supported;
  }
  attached_ = true;
  for (u32 i = 0; i < kSlots; ++i) {
    if (slots_[i].active) TRY(submit(i));
  }
  return {};
}

Result<void> BlockDevice::attach_until_it_works() {
  for (;;) {
    const Result<void> done = attach();
    if (done.has_value()) return {};
    if (!is_worth_retrying(done.error()) || ++attempts_ >= kMaxAttempts) {
      attempts_ = 0;
      return done;
    }
  }
}

Result<void> BlockDevice::read(u64 offset, std::span<std::byte> out) {
  if (offset > geometry_.bytes() || out.size() > geometry_.bytes() - offset) return Status::out_of_range;
  return operate(BlockOperation::read, offset, out.data(), nullptr, out.size());
}

Result<void> BlockDevice::write(u64 offset, std::span<const std::byte> data) {
  if (offset % kBlockSectorBytes != 0 || data.size() % kBlockSectorBytes != 0) return Status::invalid_argument;
  if (offset > geometry_.bytes() || data.size() > geometry_.bytes() - offset) return Status::out_of_range;
  if (geometry_.read_only) return Status::read_only;
  return operate(BlockOperation::write, offset, nullptr, data.data(), data.size());
}

Result<void> BlockDevice::flush() { return operate(BlockOperation::flush, 0, nullptr, nullptr, 0); }

Result<void> BlockDevice::operate(BlockOperation operation, u64 offset, std::byte* target, const std::byte* source,
                                  u64 bytes) {
  first_error_ = Status::ok;
  attempts_ = 0;
  Result<void> usable;
  if (!attached_ || transport_.was_restarted()) usable = attach_until_it_works();
  u64 next = 0;
  bool more = bytes != 0 || operation == BlockOperation::flush;
  while (usable.has_value() && (more || in_flight_ != 0)) {
    for (u32 i = 0; i < kSlots && more && first_error_ == Status::ok; ++i) {
      Slot& slot = slots_[i];
      if (slot.active) continue;
      fill(i, operation, offset + next, bytes - next);
      if (target != nullptr) slot.target = target + next;
      if (source != nullptr) std::memcpy(pool(i), source + next, slot.bytes);
      next += slot.bytes;
      more = next < bytes;
      ++in_flight_;
      slot.active = true;
      // A full or broken ring: it is submitted again with the next attachment.
      if (!submit(i).has_value()) attached_ = false;
    }
    if (first_error_ != Status::ok) more = false;
    if (in_flight_ != 0) usable = progress();
  }
  forget_all();
  transport_.end();
  if (!usable.has_value()) return usable;
  return first_error_;
}

// A request for the first of `bytes`, widened to whole sectors.
void BlockDevice::fill(u32 i, BlockOperation operation, u64 offset, u64 bytes) {
  Slot& slot = slots_[i];
  const u64 first = align_down(offset, kBlockSectorBytes);
  slot.skip = static_cast<u32>(offset - first);
  slot.bytes = static_cast<u32>(std::min<u64>(bytes, kSlotBytes - slot.skip));
  slot.target = nullptr;
  slot.request = {.id = ++sequence_ << 8 | i,
                  .operation = operation,
                  .bytes = static_cast<u32>(align_up(slot.skip + slot.bytes, kBlockSectorBytes)),
                  .first_sector = first / kBlockSectorBytes,
                  .pool_offset = u64{i} * kSlotBytes};
}

Result<void> BlockDevice::submit(u32 slot) {
  if (TRY(requests_.push(slots_[slot].request)) == Doorbell::needed) transport_.ring_doorbell();
  return {};
}

Result<void> BlockDevice::progress() {
  for (;;) {
    Result<bool> taken = attached_ ? take_completions() : Result<bool>(Status::corrupt);
    if (taken.has_value() && *taken) {
      attempts_ = 0;
      return {};
    }
    Result<bool> asleep = taken;
    if (taken.has_value()) asleep = completions_.prepare_to_sleep();
    if (asleep.has_value() && !*asleep) continue;
    bool lost = !asleep.has_value();
    if (!lost) {
      const Result<BlockTransport::Woken> woken = transport_.wait();
      if (!woken.has_value() && woken.error() != Status::timed_out) return woken.error();
      completions_.awake();
      lost = !woken.has_value() || *woken == BlockTransport::Woken::restarted;
      // What it completed before is there; what it did not is submitted again.
      if (lost) static_cast<void>(take_completions());
    }
    if (!lost) continue;
    if (++attempts_ >= kMaxAttempts) return Status::timed_out;
    TRY(attach_until_it_works());
    if (in_flight_ == 0) return {};
  }
}

// Whether anything completed.
Result<bool> BlockDevice::take_completions() {
  bool any = false;
  for (;;) {
    BlockCompletion completion;
    const Result<Doorbell> popped = completions_.pop(&completion);
    if (popped.status() == Status::would_block) return any;
    if (!popped.has_value()) return popped.error();
    if (*popped == Doorbell::needed) transport_.ring_doorbell();
    const u64 i = completion.id & kSlotMask;
    if (i >= kSlots || !slots_[i].active || slots_[i].request.id != completion.id) return Status::corrupt;
    Slot& slot = slots_[i];
    slot.active = false;
    --in_flight_;
    any = true;
    if (completion.status != 0) {
      const bool known = completion.status < kStatusCount;
      if (first_error_ == Status::ok) first_error_ = known ? static_cast<Status>(completion.status) : Status::io_error;
    } else if (slot.target != nullptr) {
      std::memcpy(slot.target, pool(static_cast<u32>(i)) + slot.skip, slot.bytes);
    }
  }
}

// After a failure some may be under way still: their slots are not to be used before a new attachment.
void BlockDevice::forget_all() {
  if (in_flight_ == 0) return;
  for (Slot& slot : slots_) slot.active = false;
  in_flight_ = 0;
  attached_ = false;
}

}  // namespace keel
