// Symbols that the compiler and libc++ call. All of them report a bug, so they trap.
#include <stdlib.h>
#include <__verbose_abort>

extern "C" {

[[gnu::visibility("hidden")]] void* __dso_handle = nullptr;

// Global destructors never run: the kernel never ends, a process gives back all it has at once.
int __cxa_atexit(void (*)(void*), void*, void*) { return 0; }
[[noreturn]] void __cxa_pure_virtual() { __builtin_trap(); }
[[noreturn]] void __cxa_deleted_virtual() { __builtin_trap(); }
void abort() { __builtin_trap(); }

}  // extern "C"

namespace std {
inline namespace __k1 {
void __libcpp_verbose_abort(const char*, ...) { __builtin_trap(); }
}  // namespace __k1
}  // namespace std
