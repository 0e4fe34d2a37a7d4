#include "user/drivers/virtio_blk/virtqueue.h"

namespace keel::virtio {

Result<Virtqueue> Virtqueue::create(std::span<std::byte> memory, u16 size) {
  if (size == 0 || size > kMaxQueueSize || (size & (size - 1)) != 0) return Status::invalid_argument;
  if (!is_aligned(reinterpret_cast<usize>(memory.data()), kPageSize)) return Status::misaligned;
  if (memory.size() < kBytes) return Status::out_of_range;
  Virtqueue queue;
  queue.memory_ = memory.data();
  queue.size_ = size;
  queue.first_free_ = 0;
  queue.free_count_ = size;
  for (u16 i = 0; i < size; ++i) queue.next_[i] = i + 1 == size ? kNone : static_cast<u16>(i + 1);
  return queue;
}

Result<u16> Virtqueue::submit(std::span<const Segment> segments) {
  if (broken_) return Status::corrupt;
  if (segments.empty()) return Status::invalid_argument;
  if (segments.size() > size_) return Status::too_big;
  bool writes = false;
  for (const Segment& s : segments) {
    if (writes && !s.device_writes) return Status::invalid_argument;
    writes = s.device_writes;
  }
  if (segments.size() > free_count_) return Status::would_block;

  const u16 head = first_free_;
  u16 at = head;
  u32 writable = 0;
  for (usize i = 0; i < segments.size(); ++i) {
    const Segment& s = segments[i];
    const bool last = i + 1 == segments.size();
    const u16 next = next_[at];
    descriptor(at) = {s.address, s.bytes,
                      static_cast<u16>((s.device_writes ? kDescriptorWrite : 0) | (last ? 0 : kDescriptorNext)),
                      last ? u16{0} : next};
    if (s.device_writes) writable += s.bytes;
    if (last) {
      first_free_ = next;
      next_[at] = kNone;
    }
    at = next;
  }
  free_count_ = static_cast<u16>(free_count_ - segments.size());
  ++chains_;
  is_chain_[head] = true;
  writable_[head] = writable;
  available_entry(next_available_ & (size_ - 1)) = head;
  ++next_available_;
  return head;
}

bool Virtqueue::publish() {
  if (broken_ || published_ == next_available_) return false;
  published_ = next_available_;
  word(kAvailable + 2).store(published_, kSeqCst);  // the entries before it
  std::atomic_thread_fence(kSeqCst);
  return (word(kUsed).load(kRelaxed) & kUsedNoNotify) == 0;
}

Result<std::optional<Used>> Virtqueue::take() {
  if (broken_) return Status::corrupt;
  const u16 index = word(kUsed + 2).load(kAcquire);  // pairs with the device's write after its entries
  if (index == next_used_) return std::optional<Used>();
  const UsedEntry entry = used_entry(next_used_ & (size_ - 1));
  std::atomic_signal_fence(kSeqCst);  // the copy is what is checked
  const u16 claimed = static_cast<u16>(index - next_used_);
  if (claimed > chains_ || entry.id >= size_ || !is_chain_[entry.id]) {
    broken_ = true;
    return Status::corrupt;
  }
  const u16 head = static_cast<u16>(entry.id);
  is_chain_[head] = false;
  --chains_;
  ++next_used_;
  u16 last = head;
  u16 count = 1;
  for (; next_[last] != kNone; last = next_[last]) ++count;
  next_[last] = first_free_;
  first_free_ = head;
  free_count_ = static_cast<u16>(free_count_ + count);
  return std::optional<Used>({head, entry.bytes < writable_[head] ? entry.bytes : writable_[head]});
}

}  // namespace keel::virtio
