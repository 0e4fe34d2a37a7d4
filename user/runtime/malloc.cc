// malloc and operator new over the process's heap.
#include <cstdlib>
#include <cstring>
#include <new>

#include "user/runtime/heap.h"
#include "user/runtime/memory.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"

namespace keel {
namespace {

class MappedPages final : public PageSource {
 public:
  void* map(u64 pages) override {
    Result<Mapping> mapping = Mapping::create(pages);
    return mapping.has_value() ? mapping->release().data() : nullptr;
  }
  void unmap(void* address, u64 pages) override {
    // Cannot fail: exactly what map() mapped.
    static_cast<void>(sys::space_unmap(self().space, reinterpret_cast<u64>(address), pages * kPageSize));
  }
};

constinit MappedPages g_pages;
constinit Heap g_heap{g_pages};

void* allocate_or_die(std::size_t bytes, std::size_t alignment) {
  void* block = g_heap.allocate(bytes, alignment);
  if (block == nullptr) fatal("no memory left for operator new");
  return block;
}

}  // namespace

Heap& process_heap() { return g_heap; }

}  // namespace keel

using keel::g_heap;

extern "C" {

void* malloc(size_t bytes) { return g_heap.allocate(bytes); }
void* aligned_alloc(size_t alignment, size_t bytes) { return g_heap.allocate(bytes, alignment); }
void free(void* block) { g_heap.free(block); }

void* calloc(size_t count, size_t each) {
  keel::u64 bytes;
  if (!keel::checked_mul(count, each, &bytes)) return nullptr;
  void* block = malloc(bytes);
  if (block != nullptr) std::memset(block, 0, bytes);
  return block;
}

void* realloc(void* block, size_t bytes) {
  if (block == nullptr) return malloc(bytes);
  const size_t old = keel::Heap::usable_bytes(block);
  if (bytes <= old) return block;
  void* larger = malloc(bytes);
  if (larger == nullptr) return nullptr;
  std::memcpy(larger, block, old);
  free(block);
  return larger;
}

}  // extern "C"

const std::nothrow_t std::nothrow{};

void* operator new(std::size_t bytes) { return keel::allocate_or_die(bytes, keel::Heap::kAlignment); }
void* operator new[](std::size_t bytes) { return keel::allocate_or_die(bytes, keel::Heap::kAlignment); }
void* operator new(std::size_t bytes, std::align_val_t a) {
  return keel::allocate_or_die(bytes, static_cast<size_t>(a));
}
void* operator new[](std::size_t bytes, std::align_val_t a) {
  return keel::allocate_or_die(bytes, static_cast<size_t>(a));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return malloc(bytes); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return malloc(bytes); }
void operator delete(void* block) noexcept { free(block); }
void operator delete[](void* block) noexcept { free(block); }
void operator delete(void* block, std::size_t) noexcept { free(block); }
void operator delete[](void* block, std::size_t) noexcept { free(block); }
void operator delete(void* block, std::align_val_t) noexcept { free(block); }
void operator delete[](void* block, std::align_val_t) noexcept { free(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { free(block); }
void operator delete[](void* block, std::size_t, std::align_val_t) noexcept { free(block); }
