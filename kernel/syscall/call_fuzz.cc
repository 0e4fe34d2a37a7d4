// libFuzzer: bytes → a sequence of system calls and events (call_script.h). No panic, trap, hang or leak may be
// reachable from user mode.
#include "kernel/syscall/call_script.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, unsigned long size) {
  keel::testing::CallScript({data, size}).run();
  return 0;
}
