// Heap: what malloc and operator new give out. Blocks of 40 size classes (up to 32 KiB) are cut from chunks and return
// to a list of their class; larger ones have pages of their own, which go back at once.
//
// Invariants   I1 each block begins with a Header whose check word tells live blocks from free ones: a double free or a
//                 stray pointer traps.
// Locks        lock_; taken alone.
// Costs        allocate, free: O(1); at most 25 % and 16 bytes of each block are lost. Chunks are never given back.
#pragma once

#include <cstddef>

#include "base/types.h"
#include "user/runtime/sync.h"

namespace keel {

// Where a heap gets pages.
class PageSource {
 public:
  virtual void* map(u64 pages) = 0;  // zeroed; null if there are none
  virtual void unmap(void* address, u64 pages) = 0;

 protected:
  constexpr ~PageSource() = default;
};

class Heap {
 public:
  static constexpr usize kAlignment = 16;

  constexpr explicit Heap(PageSource& source) : source_(source) {}

  // `alignment` is a power of two up to a page. Null if there is no memory.
  void* allocate(usize bytes, usize alignment = kAlignment);
  // `block` came from allocate() and is not free, or is null.
  void free(void* block);
  // Bytes that may be used behind the pointer, at least those asked for.
  static usize usable_bytes(const void* block);

 private:
  struct Header {
    u32 check;
    u32 size_class;  // kLarge: own pages; kInner: an aligned block inside another
    u64 bytes;       // usable; kInner: distance to the outer block
  };
  struct Free {
    Free* next;
  };
  static constexpr u32 kClasses = 40;
  static constexpr u32 kLarge = 254;
  static constexpr u32 kInner = 255;
  static constexpr usize kMaxClassBytes = 32768;
  static constexpr u64 kChunkPages = 64;
  static constexpr u32 kLive = 0x6b65656c;
  static constexpr u32 kFreed = 0x66726565;

  static u32 class_of(usize bytes);
  static usize class_bytes(u32 index);
  static Header* header_of(const void* block);
  void* allocate_plain(usize bytes);
  std::byte* cut(usize bytes) REQUIRES(lock_);

  PageSource& source_;
  Mutex lock_;
  Free* free_[kClasses] GUARDED_BY(lock_) = {};
  std::byte* chunk_ GUARDED_BY(lock_) = nullptr;
  usize chunk_left_ GUARDED_BY(lock_) = 0;
};

// What malloc uses.
Heap& process_heap();

}  // namespace keel
