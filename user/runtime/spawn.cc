#include "user/runtime/spawn.h"

#include <cstring>
#include <optional>

#include "abi/start_block.h"
#include "user/runtime/elf.h"
#include "user/runtime/memory.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"

namespace keel {
namespace {

namespace p = sys::space_map_protection;

// Images go somewhere into the lower 64 TiB, well above what a null pointer with an offset reaches.
constexpr u64 kLowestImage = u64{1} << 32;
constexpr u64 kImagePages = (u64{1} << 46) / kPageSize;
constexpr u32 kPlacementTries = 8;

// Until keep(): the process dies with this.
class Builder {
 public:
  explicit Builder(const SpawnRequest& request) : request_(request) {}
  ~Builder() {
    if (process_) static_cast<void>(sys::process_kill(process_.get(), kExitFatal));
  }

  Result<Child> build(const char** what) {
    const char* unused;
    if (what == nullptr) what = &unused;
    *what = "image";
    elf_ = TRY(parse_elf(request_.image, what));
    *what = "process";
    TRY(create());
    *what = "segments";
    TRY(map_image());
    *what = "stack";
    const u64 stack = TRY(map_new(request_.stack_pages));
    *what = "thread";
    const sys::ThreadCreateResult thread = TRY(sys::thread_create(process_.get(), request_.level));
    Cap thread_cap(thread.thread);
    *what = "capabilities";
    TRY(grant_all(thread.thread));
    *what = "start block";
    const u64 block = TRY(map_start_block());
    *what = "start";
    TRY(sys::thread_start(thread.thread, base_ + elf_.entry, stack + request_.stack_pages * kPageSize, block,
                          thread.message_page));
    return Child{std::move(process_), id_};
  }

 private:
  Result<void> create() {
    u64 name[3] = {};
    std::memcpy(name, request_.name.data(), request_.name.size() < sizeof name ? request_.name.size() : sizeof name);
    const sys::ProcessCreateResult made = TRY(sys::process_create(request_.group, name[0], name[1], name[2]));
    process_ = Cap(made.process);
    space_ = Cap(made.space);
    id_ = made.id;
    const Labels& l = request_.labels;
    if (l.any()) TRY(sys::process_set_labels(process_.get(), request_.label_authority, l.uid, l.gid));
    return {};
  }

  Result<void> map_image() {
    for (u32 i = 0;; ++i) {
      const sys::RandomGetResult random = TRY(sys::random_get(1));
      base_ = kLowestImage + random.r0 % kImagePages * kPageSize - elf_.first_page;
      const Result<void> mapped = map_segments();
      if (mapped.has_value()) return {};
      if (mapped.error() != Status::bad_address || i == kPlacementTries) return mapped;
      TRY(sys::space_unmap(space_.get(), base_ + elf_.first_page, elf_.span_bytes()));
    }
  }

  Result<void> map_segments() {
    for (const ElfSegment& segment : elf_.segments()) {
      TRY(is_shareable(segment) ? share(segment) : copy(segment));
    }
    return {};
  }

  bool is_shareable(const ElfSegment& s) const {
    return request_.image_memory != kNoCapability && !s.writable && s.file_size == s.mem_size &&
           is_aligned(request_.image_offset, kPageSize);
  }
  static u64 pages_of(const ElfSegment& s) { return (s.end_page() - s.first_page()) / kPageSize; }
  static u64 protection_of(const ElfSegment& s) {
    return p::read | p::fixed | (s.writable ? p::write : 0) | (s.executable ? p::execute : 0);
  }

  Result<void> share(const ElfSegment& s) {
    const u64 first = (request_.image_offset + s.file_offset - (s.vaddr - s.first_page())) / kPageSize;
    TRY(sys::space_map(space_.get(), request_.image_memory.value, first, pages_of(s), protection_of(s),
                       base_ + s.first_page()));
    return {};
  }

  Result<void> copy(const ElfSegment& s) {
    Cap memory = TRY(own(sys::memory_create(request_.group, pages_of(s), 0)));
    if (s.file_size != 0) {
      Mapping here = TRY(Mapping::map(memory.get(), Access::read_write, 0, pages_of(s)));
      std::memcpy(here.data() + (s.vaddr - s.first_page()), request_.image.data() + s.file_offset, s.file_size);
    }
    TRY(sys::space_map(space_.get(), memory.get().value, 0, pages_of(s), protection_of(s), base_ + s.first_page()));
    return {};
  }

  Result<u64> map_new(u64 pages) {
    const Cap memory = TRY(own(sys::memory_create(request_.group, pages, 0)));
    return sys::space_map(space_.get(), memory.get().value, 0, pages, p::read | p::write, 0);
  }

  Result<void> grant(std::string_view name, CapIndex source, Rights rights, u64 scope) {
    if (name.size() > kStartNameBytes || count_ == kMaxStartCapabilities) return Status::too_big;
    if (rights == 0) rights = static_cast<Rights>(TRY(sys::cap_info(source)).kind_rights >> 16);
    StartCapability& entry = capabilities_[count_];
    entry = {};
    std::memcpy(entry.name, name.data(), name.size());
    entry.index = TRY(sys::cap_grant(process_.get(), source.value, rights, scope));
    ++count_;
    return {};
  }

  Result<void> grant_all(CapIndex thread) {
    TRY(grant("self.process", process_.get(),
              rights::inspect | rights::process::kill | rights::process::manage | rights::process::wait, 0));
    TRY(grant("self.space", space_.get(), rights::inspect | rights::address_space::map, 0));
    TRY(grant("self.group", request_.group,
              rights::transfer | rights::derive | rights::inspect | rights::group::charge | rights::group::create, 0));
    TRY(grant("self.thread", thread, rights::inspect | rights::thread::control, 0));
    for (const Grant& g : request_.grants) TRY(grant(g.name, g.source, g.rights, g.scope));
    return {};
  }

  Result<u64> map_start_block() {
    Cap memory;
    const Mapping page = TRY(Mapping::create(1, &memory));
    StartBlock block{};
    block.magic = kStartMagic;
    block.version = kStartVersion;
    block.capability_count = count_;
    block.argument_count = static_cast<u32>(request_.arguments.size());
    block.image_base = base_;
    std::memcpy(block.name, request_.name.data(),
                request_.name.size() < kStartNameBytes ? request_.name.size() : kStartNameBytes);
    u64 at = sizeof block;
    std::memcpy(page.data() + at, capabilities_, count_ * sizeof(StartCapability));
    at += count_ * sizeof(StartCapability);
    const u64 first_argument = at;
    for (const std::string_view argument : request_.arguments) {
      if (argument.size() + 1 > kStartBlockBytes - at) return Status::too_big;
      std::memcpy(page.data() + at, argument.data(), argument.size());
      at += argument.size() + 1;  // the page is zeroed
    }
    block.argument_bytes = static_cast<u32>(at - first_argument);
    block.bytes = static_cast<u32>(at);
    std::memcpy(page.data(), &block, sizeof block);
    return sys::space_map(space_.get(), memory.get().value, 0, 1, p::read, 0);
  }

  const SpawnRequest& request_;
  ElfImage elf_;
  u64 base_ = 0;
  u64 id_ = 0;
  Cap process_;
  Cap space_;
  StartCapability capabilities_[kMaxStartCapabilities];
  u32 count_ = 0;
};

}  // namespace

Result<Child> spawn_process(const SpawnRequest& request, const char** what) { return Builder(request).build(what); }

}  // namespace keel
