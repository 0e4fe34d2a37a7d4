// Physical memory on the host is memory of this process: an address is its own physical address.
#pragma once

#include <cstring>

#include "base/types.h"

namespace keel {

inline void* phys_to_virt(PhysAddr address) { return reinterpret_cast<void*>(address.value); }
inline PhysAddr virt_to_phys(const void* address) { return PhysAddr(reinterpret_cast<u64>(address)); }

namespace arch {
inline void zero_page(void* page) { std::memset(page, 0, kPageSize); }
inline void copy_page(void* to, const void* from) { std::memcpy(to, from, kPageSize); }
}  // namespace arch

}  // namespace keel
