// Makes random system calls with whatever capabilities it holds, from three threads, until the parent's account says
// that it is enough or it has killed itself. The generator is the table of calls (abi/calls.toml, through
// abi/fuzz_calls.h).
#include <cstring>

#include "abi/fuzz_calls.h"
#include "tests/system/fuzz/account.h"
#include "user/runtime/clock.h"
#include "user/runtime/memory.h"
#include "user/runtime/start.h"
#include "user/runtime/stubs.h"
#include "user/runtime/thread.h"
#include "user/runtime/thread_block.h"

using namespace keel;

namespace {

constexpr u32 kPool = 160;
constexpr u32 kThreads = 3;
constexpr u64 kArenaPages = 16;

fuzz::Account* g_account;
u64 g_pool[kPool];  // capabilities that were seen; any thread may change it at any time
ObjectKind g_kinds[kPool];
u64 g_arena;

class Generator {
 public:
  explicit Generator(u64 seed) : state_(seed) {}

  void run() {
    while (!g_account->stop.load(kRelaxed)) {
      const FuzzCall& call = kFuzzCalls[below(sizeof(kFuzzCalls) / sizeof(kFuzzCalls[0]))];
      if (ends_it(Call(call.number)) && below(400) != 0) continue;
      make(call);
      g_account->calls.fetch_add(1, kRelaxed);
    }
  }

 private:
  u64 next() {
    u64 z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  u64 below(u64 n) { return next() % n; }

  static bool ends_it(Call call) {
    switch (call) {
      case Call::process_kill:
      case Call::thread_exit:
      case Call::thread_suspend:
      case Call::thread_set_registers:
      case Call::group_kill:
      case Call::group_set_cpu:
      case Call::group_set_limits:
      case Call::process_set_limits:
      case Call::thread_set_level:
      case Call::thread_set_context:
        return true;
      default:
        return false;
    }
  }
  u64 number() {
    static constexpr u64 kEdges[] = {
        0,           1,      2,       8,           9,           16,           63,           64,
        65,          448,    449,     480,         481,         511,          512,          0xfff,
        0x1000,      0xffff, 0x10000, 0x7fff'ffff, 0xffff'ffff, u64{1} << 32, u64{1} << 47, u64{1} << 63,
        ~u64{0} - 1, ~u64{0}};
    switch (below(4)) {
      case 0:
        return below(64);
      case 1:
        return kEdges[below(sizeof(kEdges) / sizeof(u64))];
      case 2:
        return below(64) * kPageSize;
      default:
        return next() >> below(64);
    }
  }
  // Mostly of the kind that the call wants.
  u64 capability(ObjectKind kind) {
    if (kind != ObjectKind::none && below(8) != 0) {
      for (u32 tries = 0; tries < 40; ++tries) {
        const u64 n = below(kPool);
        if (g_kinds[n] == kind) return g_pool[n];
      }
    }
    return capability();
  }
  u64 capability() {
    return below(50) == 0    ? number()
           : below(100) == 0 ? g_pool[below(kPool)] ^ u64 { 1 } << below(64)
                             : g_pool[below(kPool)];
  }
  // Mostly in memory that nothing depends on.
  u64 address() {
    if (below(2000) == 0) return next() & 0x7fff'ffff'ffff;
    return below(20) == 0 ? number() : g_arena + below(kArenaPages + 4) * kPageSize + below(3) * 4;
  }
  u64 time() {
    const u64 now = now_ns();
    switch (below(16)) {
      case 0:
        return number();
      case 1:
        return below(200) == 0 ? ~u64{0} : 0;
      default:
        return now + below(50'000);
    }
  }

  void make(const FuzzCall& call) {
    u64 descriptor = 0;
    u64 w[kRegisterWords] = {};
    MessagePage& page = message_page();
    for (u32 i = 0; i < kRegisterWords; ++i) {
      switch (call.args[i]) {
        case FuzzArg::none:
          break;
        case FuzzArg::number:
          w[i] = below(3) == 0 ? capability() : number();
          if (below(2) == 0 && (Call(call.number) == Call::space_map || Call(call.number) == Call::cap_grant) && i == 0)
            w[i] = capability(ObjectKind::memory);
          if ((Call(call.number) == Call::space_unmap || Call(call.number) == Call::space_protect) && i == 0)
            w[i] = address();
          break;
        case FuzzArg::address:
          w[i] = address();
          break;
        case FuzzArg::time:
          w[i] = time();
          break;
        case FuzzArg::flags:
          w[i] = below(32);
          break;
        case FuzzArg::capability:
          w[i] = capability(call.caps[i].kind);
          break;
        case FuzzArg::message:
          w[i] = next();
          descriptor = Descriptor::make(u32(below(10) == 0 ? below(512) : below(12)), u32(below(3) == 0 ? below(8) : 0),
                                        u32(below(16)));
          for (u64& c : page.capabilities) c = capability();
          break;
      }
    }
    if (call.blocks || below(8) == 0) {
      descriptor |= below(3000) == 0 ? 0 : u64{Descriptor::kDeadline};
      page.deadline = time();
    }
    if (below(300) == 0) descriptor = next() << 8;
    u64 rax = u64(call.number) | descriptor;
    u64 rdi = capability(call.object);
    raw_call(rax, rdi, w);
    const u8 status = u8(rax);
    if (status < 64) g_account->seen[call.number].fetch_or(u64{1} << status, kRelaxed);
    if (status != 0) return;
    // What came back may be capabilities: they are used from now on.
    for (u32 i = 0; i < 2; ++i) {
      if (w[i] >> 32 != 0 && w[i] >> 32 < 1000) add(16 + below(kPool - 16), w[i]);
    }
    if (Descriptor{rax}.capabilities() > 0) add(16 + below(kPool - 16), page.capabilities[0]);
  }

  static void add(u64 at, u64 index) {
    g_kinds[at] = kind_of(CapIndex(index));
    g_pool[at] = index;
  }

  static void raw_call(u64& rax, u64& rdi, u64* w) {
    register u64 r8 asm("r8") = w[2];
    register u64 r9 asm("r9") = w[3];
    register u64 r12 asm("r12") = w[4];
    register u64 r13 asm("r13") = w[5];
    register u64 r14 asm("r14") = w[6];
    register u64 r15 asm("r15") = w[7];
    asm volatile("syscall"
                 : "+a"(rax), "+D"(rdi), "+S"(w[0]), "+d"(w[1]), "+r"(r8), "+r"(r9), "+r"(r12), "+r"(r13), "+r"(r14),
                   "+r"(r15)
                 :
                 : "rcx", "r10", "r11", "memory");
    w[2] = r8, w[3] = r9, w[4] = r12, w[5] = r13, w[6] = r14, w[7] = r15;
  }

  u64 state_;
};

}  // namespace

int main() {
  const Result<Mapping> account = Mapping::map(find_capability("account"), Access::read_write);
  if (!account.has_value()) return 1;
  g_account = account->as<fuzz::Account>();
  u32 count = 0;
  for (u32 i = 0; i < start_capability_count() && count < kPool / 2; ++i) {
    const std::string_view name = start_capability_name(i);
    if (name != "account") g_pool[count++] = start_capability(i).index;
  }
  const Result<CapIndex> memory = sys::memory_create(self().group, kArenaPages, 0);
  if (memory.has_value()) {
    g_pool[count++] = memory->value;
    g_arena = sys::space_map(self().space, memory->value, 0, kArenaPages, 3, 0).value_or(0x10'0000'0000);
  }
  for (u32 i = count; i < kPool; ++i) g_pool[i] = g_pool[i % count];
  for (u32 i = 0; i < kPool; ++i) g_kinds[i] = kind_of(CapIndex(g_pool[i]));
  const u64 seed = g_account->seed.fetch_add(kThreads, kRelaxed);
  static Generator generators[kThreads] = {Generator(seed * 77 + 1), Generator(seed * 77 + 2),
                                           Generator(seed * 77 + 3)};
  Thread threads[kThreads - 1];
  for (u32 i = 1; i < kThreads; ++i) {
    auto made = Thread::create([](void* g) { static_cast<Generator*>(g)->run(); }, &generators[i]);
    if (made.has_value()) threads[i - 1] = std::move(*made);
  }
  generators[0].run();
  return 0;
}
