#include "user/runtime/heap.h"

#include <bit>

namespace keel {

static_assert(sizeof(u64) * 2 == Heap::kAlignment);

// 16, 32 .. 128, then four steps to each doubling.
u32 Heap::class_of(usize bytes) {
  if (bytes <= 128) return bytes <= 16 ? 0 : static_cast<u32>((bytes + 15) / 16 - 1);
  const u32 doubling = static_cast<u32>(std::bit_width(bytes - 1)) - 1;  // 2^doubling < bytes <= 2^(doubling + 1)
  const u32 step = static_cast<u32>((bytes - 1) >> (doubling - 2)) & 3;
  return 8 + (doubling - 7) * 4 + step;
}

usize Heap::class_bytes(u32 index) {
  if (index < 8) return (index + 1) * usize{16};
  const u32 doubling = 7 + (index - 8) / 4;
  return (usize{1} << doubling) + ((index - 8) % 4 + 1) * (usize{1} << (doubling - 2));
}

// SAFETY: `block` came from allocate(), which put a Header before it.
Heap::Header* Heap::header_of(const void* block) {
  Header* header = reinterpret_cast<Header*>(const_cast<void*>(block)) - 1;
  if (header->check != kLive) __builtin_trap();  // I1
  return header;
}

std::byte* Heap::cut(usize bytes) {
  if (chunk_left_ < bytes) {
    void* fresh = source_.map(kChunkPages);  // what is left of the old chunk is lost, less than a block
    if (fresh == nullptr) return nullptr;
    chunk_ = static_cast<std::byte*>(fresh);
    chunk_left_ = kChunkPages * kPageSize;
  }
  std::byte* block = chunk_;
  chunk_ += bytes;
  chunk_left_ -= bytes;
  return block;
}

void* Heap::allocate_plain(usize bytes) {
  Header* header;
  if (bytes > kMaxClassBytes) {
    u64 total;
    if (!checked_add(bytes, sizeof(Header) + kPageSize - 1, &total)) return nullptr;
    const u64 pages = total / kPageSize;
    header = static_cast<Header*>(source_.map(pages));
    if (header == nullptr) return nullptr;
    *header = {kLive, kLarge, pages * kPageSize - sizeof(Header)};
    return header + 1;
  }
  const u32 index = class_of(bytes);
  const usize size = class_bytes(index);
  {
    MutexGuard guard(lock_);
    if (free_[index] != nullptr) {
      header = reinterpret_cast<Header*>(free_[index]) - 1;
      free_[index] = free_[index]->next;
    } else {
      header = reinterpret_cast<Header*>(cut(sizeof(Header) + size));
    }
  }
  if (header == nullptr) return nullptr;
  *header = {kLive, index, size};
  return header + 1;
}

void* Heap::allocate(usize bytes, usize alignment) {
  if (alignment <= kAlignment) return allocate_plain(bytes);
  u64 total;
  if (alignment > kPageSize || !checked_add(bytes, alignment + sizeof(Header), &total)) return nullptr;
  std::byte* outer = static_cast<std::byte*>(allocate_plain(total));
  if (outer == nullptr) return nullptr;
  const u64 first = reinterpret_cast<u64>(outer);
  if (is_aligned(first, alignment)) return outer;
  const u64 inner = align_up(first + sizeof(Header), alignment);
  *(reinterpret_cast<Header*>(inner) - 1) = {kLive, kInner, inner - first};
  return reinterpret_cast<void*>(inner);
}

void Heap::free(void* block) {
  if (block == nullptr) return;
  Header* header = header_of(block);
  header->check = kFreed;
  if (header->size_class == kInner) return free(static_cast<std::byte*>(block) - header->bytes);
  if (header->size_class == kLarge) {
    return source_.unmap(header, (header->bytes + sizeof(Header)) / kPageSize);
  }
  if (header->size_class >= kClasses) __builtin_trap();  // I1
  MutexGuard guard(lock_);
  Free* entry = static_cast<Free*>(block);
  entry->next = free_[header->size_class];
  free_[header->size_class] = entry;
}

usize Heap::usable_bytes(const void* block) {
  const Header* header = header_of(block);
  if (header->size_class != kInner) return header->bytes;
  return usable_bytes(static_cast<const std::byte*>(block) - header->bytes) - header->bytes;
}

}  // namespace keel
