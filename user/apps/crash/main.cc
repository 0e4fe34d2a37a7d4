// crash: dies in the way that its argument names, to show that nothing else does.
#include "user/runtime/print.h"
#include "user/runtime/start.h"

namespace keel {
namespace {

// Volatile, so that the compiler neither sees nor removes what goes wrong.
volatile u64 g_zero = 0;

[[gnu::noinline]] u64 overflow(u64 depth) {
  volatile char room[512];
  room[depth % sizeof room] = 1;
  if (g_zero == 1) return depth;  // never
  return overflow(depth + 1) + static_cast<u64>(room[0]);
}

// Past the end of its own buffer, and so through the canary.
[[gnu::noinline]] void overrun(u64 bytes) {
  volatile char room[16];
  for (u64 i = 0; i < bytes + g_zero; ++i) room[i] = 'x';
}

void write_to(u64 address) { *reinterpret_cast<volatile u64*>(address) = 1; }

void execute_data() {
  static volatile unsigned char code[16] = {0xc3};  // ret
  reinterpret_cast<void (*)()>(reinterpret_cast<u64>(&code[0]) + g_zero)();
}

[[noreturn]] void spin() {
  for (;;) g_zero = g_zero + 0;
}

}  // namespace
}  // namespace keel

int main() {
  using namespace keel;
  const std::string_view how = argument(1);
  if (how == "divide") {
    u64 quotient = 1, remainder = 0;
    asm volatile("divq %2" : "+a"(quotient), "+d"(remainder) : "r"(u64{g_zero}));
  } else if (how == "wild") {
    write_to(0xdead'beef'000 + g_zero);
  } else if (how == "null") {
    write_to(g_zero);
  } else if (how == "stack") {
    print("{}\n", overflow(g_zero));
  } else if (how == "buffer") {
    overrun(64);
  } else if (how == "execute") {
    execute_data();
  } else if (how == "kernel") {
    write_to(0xffff'8000'0000'1000 + g_zero);
  } else if (how == "illegal") {
    asm volatile("ud2");
  } else if (how == "privileged") {
    asm volatile("cli");
  } else if (how == "spin") {
    spin();
  } else {
    print("usage: crash divide|wild|null|stack|buffer|execute|kernel|illegal|privileged|spin\n");
    return 2;
  }
  print("crash {}: survived\n", how);
  return 1;
}
