// libFuzzer: bytes → a sequence of system calls and events (script_rig_test.h). No panic, trap, hang or leak may be
// reachable from user mode.
#include "kernel/syscall/script_rig_test.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, unsigned long size) {
  keel::testing::CallScript({data, size}).run();
  return 0;
}
