// A virtual destructor makes the compiler emit a deleting variant that refers to operator delete. The kernel never
// deletes: objects go back to the heap by destroy_object().
#include <new>

void operator delete(void*) noexcept { __builtin_trap(); }
void operator delete(void*, std::size_t) noexcept { __builtin_trap(); }
void operator delete(void*, unsigned long, std::align_val_t) noexcept { __builtin_trap(); }
