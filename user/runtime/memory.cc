#include "user/runtime/memory.h"

#include "user/runtime/stubs.h"

namespace keel {
namespace {

u64 protection_of(Access access) {
  namespace p = sys::space_map_protection;
  switch (access) {
    case Access::read:
      return p::read;
    case Access::read_write:
      return p::read | p::write;
    case Access::read_execute:
      return p::read | p::execute;
  }
  return p::read;
}

}  // namespace

Result<Mapping> Mapping::map(CapIndex memory, Access access, u64 first_page, u64 pages) {
  if (pages == 0) {
    const sys::MemoryInfoResult info = TRY(sys::memory_info(memory));
    if (first_page >= info.pages) return Status::out_of_range;
    pages = info.pages - first_page;
  }
  const u64 at = TRY(sys::space_map(self().space, memory.value, first_page, pages, protection_of(access), 0));
  return Mapping(reinterpret_cast<std::byte*>(at), pages * kPageSize);
}

Result<Mapping> Mapping::create(u64 pages, Cap* memory) {
  Cap made = TRY(own(sys::memory_create(self().group, pages, 0)));
  Mapping mapping = TRY(map(made.get(), Access::read_write, 0, pages));
  if (memory != nullptr) *memory = std::move(made);
  return mapping;
}

Result<Mapping> Mapping::clone(CapIndex original, Cap* memory) {
  Cap made = TRY(own(sys::memory_clone(original, self().group)));
  Mapping mapping = TRY(map(made.get(), Access::read_write));
  if (memory != nullptr) *memory = std::move(made);
  return mapping;
}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    reset();
    address_ = std::exchange(other.address_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

void Mapping::reset() {
  // Unmapping a whole region that we mapped splits nothing, so it needs no memory and cannot fail.
  if (address_ != nullptr) static_cast<void>(sys::space_unmap(self().space, reinterpret_cast<u64>(address_), bytes_));
  address_ = nullptr;
  bytes_ = 0;
}

}  // namespace keel
