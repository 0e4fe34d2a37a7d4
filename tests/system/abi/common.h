// What the files of this test share: results out of many checks, and small programs in processes of their own.
#pragma once

#include "tests/system/report.h"
#include "user/runtime/memory.h"
#include "user/runtime/syscall.h"
#include "user/runtime/thread.h"

namespace keel::abi_test {

// Many checks that make one result.
class Check {
 public:
  explicit Check(const char* name) : name_(name) {}
  ~Check() { report::result(failed_ == 0 && checks_ > 0, name_); }
  void that(bool good, std::string_view what, u64 detail = 0) {
    ++checks_;
    if (good || ++failed_ > 5) return;
    report::line("# {}: {} ({:#x})", name_, what, detail);
  }

 private:
  const char* name_;
  u32 checks_ = 0;
  u32 failed_ = 0;
};

inline u64 now() { return sys::system_info(find_capability("control"))->uptime_ns; }
inline u64 free_pages() { return sys::system_info(find_capability("control"))->free_pages; }
// What is charged once nothing changes any more: other CPUs may still be freeing what was before.
u64 settled_kernel_bytes();
// The objects that a CPU keeps at hand hold slabs open: up to one each, where CPUs free what others made
// (kernel/mm/magazines.h: 16 of each of 14 sizes).
u64 cache_slack();
// Waits until the kernel's objects are gone: it frees in steps, on whichever CPU.
void expect_kernel_bytes(Check& check, u64 before);
// Runs other work until the memory is back; the kernel frees in steps.
void expect_free(Check& check, u64 before, u64 slack = 0);

// Machine code for threads of other processes (common.cc).
extern "C" {
#define KEEL_CODE(name) [[gnu::visibility("hidden")]] extern const char name[]
KEEL_CODE(abi_code);
KEEL_CODE(abi_code_end);
KEEL_CODE(abi_exit);
KEEL_CODE(abi_read);
KEEL_CODE(abi_write);
KEEL_CODE(abi_jump);
KEEL_CODE(abi_divide);
KEEL_CODE(abi_breakpoint);
KEEL_CODE(abi_illegal);
KEEL_CODE(abi_in);
KEEL_CODE(abi_hlt);
KEEL_CODE(abi_cr3);
KEEL_CODE(abi_wrmsr);
KEEL_CODE(abi_int);
KEEL_CODE(abi_noncanonical);
KEEL_CODE(abi_bad_stack);
KEEL_CODE(abi_spin);
KEEL_CODE(abi_vector);
KEEL_CODE(abi_server);
KEEL_CODE(abi_take);
}
void make_code();  // first

struct Child {
  CapIndex process;
  CapIndex space;
  CapIndex thread;
  CapIndex memory;  // a page for data, and above it a stack
  u64 code = 0;
  u64 data = 0;
  bool ok = false;
};
Child make_child(u64 level = kNormalLevel);
Status start(const Child& c, const char* code, u64 a = 0, u64 b = 0);
void end(Child& c);

// faults.cc
void test_faults();
void test_preemption();
// messages.cc
void test_messages();
void test_threads();
void test_forwarding();
void test_channels();
void test_wait_sets();

}  // namespace keel::abi_test
