#include "user/runtime/start.h"

#include <cstring>

#include "user/runtime/capabilities.h"
#include "user/runtime/clock.h"
#include "user/runtime/machine.h"
#include "user/runtime/print.h"
#include "user/runtime/stubs.h"
#include "user/runtime/thread_block.h"

int main();

namespace keel {
namespace {

constinit ThreadBlock g_first_thread;
constinit const StartBlock* g_block = nullptr;
constinit Self g_self;

using Initializer = void (*)();
extern "C" {
[[gnu::visibility("hidden")]] extern const Initializer __init_array_start[];
[[gnu::visibility("hidden")]] extern const Initializer __init_array_end[];
[[gnu::visibility("hidden")]] extern const std::byte __ehdr_start[];
}

std::string_view name_of(const char (&name)[kStartNameBytes]) {
  usize size = 0;
  while (size < kStartNameBytes && name[size] != 0) ++size;
  return {name, size};
}

const StartCapability* capabilities() { return reinterpret_cast<const StartCapability*>(g_block + 1); }

// What the parent writes is trusted, it made us; a mistake should still stop here.
bool is_sound(const StartBlock& block) {
  if (block.magic != kStartMagic || block.version != kStartVersion || block.bytes > kStartBlockBytes) return false;
  if (block.capability_count > kMaxStartCapabilities) return false;
  const u64 needed = sizeof(StartBlock) + u64{block.capability_count} * sizeof(StartCapability) + block.argument_bytes;
  if (needed != block.bytes) return false;
  return block.argument_bytes == 0 || reinterpret_cast<const char*>(&block)[block.bytes - 1] == 0;
}

// Takes the write permission from what only relocation had to change (PT_GNU_RELRO).
void protect_relocated() {
  struct ProgramHeader {
    u32 type;
    u32 flags;
    u64 offset, vaddr, paddr, file_size, mem_size, alignment;
  };
  constexpr u32 kGnuRelro = 0x6474e552;
  const u64 base = reinterpret_cast<u64>(__ehdr_start);
  u64 table;
  u16 count;
  std::memcpy(&table, __ehdr_start + 32, sizeof table);
  std::memcpy(&count, __ehdr_start + 56, sizeof count);
  const ProgramHeader* headers = reinterpret_cast<const ProgramHeader*>(base + table);
  for (u16 i = 0; i < count; ++i) {
    if (headers[i].type != kGnuRelro) continue;
    const u64 first = base + headers[i].vaddr;
    const u64 end = align_down(first + headers[i].mem_size, kPageSize);
    if (!is_aligned(first, kPageSize) || end <= first) continue;
    const u64 read_only = sys::space_protect_protection::read;
    static_cast<void>(sys::space_protect(g_self.space, first, end - first, read_only));  // hardening only
  }
}

}  // namespace

extern "C" [[noreturn, gnu::no_stack_protector]] void keel_start(const StartBlock* block, MessagePage* page) {
  g_first_thread.message_page = page;
  set_thread_pointer(g_first_thread);
  if (const auto random = sys::random_get(1); random.has_value()) set_stack_canary(random->r0);
  if (block == nullptr || !is_sound(*block)) {
    static_cast<void>(sys::thread_exit());
    __builtin_trap();
  }
  g_block = block;
  g_self = {find_capability("self.process"), find_capability("self.space"), find_capability("self.group"),
            find_capability("self.thread")};
  g_first_thread.thread = g_self.thread;
  protect_relocated();
  map_time_page(find_capability("time"));
  for (const Initializer* f = __init_array_start; f != __init_array_end; ++f) (*f)();
  exit_process(static_cast<u64>(::main()));
}

const Self& self() { return g_self; }
std::string_view program_name() { return name_of(g_block->name); }
u32 argument_count() { return g_block->argument_count; }
u32 start_capability_count() { return g_block->capability_count; }
const StartCapability& start_capability(u32 index) { return capabilities()[index]; }
std::string_view start_capability_name(u32 index) { return name_of(capabilities()[index].name); }

std::string_view argument(u32 index) {
  const char* text = reinterpret_cast<const char*>(capabilities() + g_block->capability_count);
  const char* end = text + g_block->argument_bytes;
  for (u32 i = 0; text < end && i < g_block->argument_count; ++i) {
    const std::string_view value(text);
    if (i == index) return value;
    text += value.size() + 1;
  }
  return {};
}

std::string_view argument_value(std::string_view name) {
  for (u32 i = 0; i < argument_count(); ++i) {
    const std::string_view text = argument(i);
    if (text.size() > name.size() && text.starts_with(name) && text[name.size()] == '=') {
      return text.substr(name.size() + 1);
    }
  }
  return {};
}

CapIndex find_capability(std::string_view name) {
  for (u32 i = 0; i < g_block->capability_count; ++i) {
    if (start_capability_name(i) == name) return CapIndex(capabilities()[i].index);
  }
  return kNoCapability;
}

void exit_process(u64 status) {
  if (g_self.process != kNoCapability) static_cast<void>(sys::process_kill(g_self.process, status));
  static_cast<void>(sys::thread_exit());
  __builtin_trap();
}

void fatal(std::string_view why) {
  log_text(LogLevel::error, why);
  exit_process(kExitFatal);
}

}  // namespace keel
