// Addresses that the boot code and kernel.ld agree on.
#pragma once

#define KEEL_LINK_BASE 0xffffffff80000000
#define KEEL_LOAD_BASE 0x200000
#define KEEL_VIRT_MINUS_PHYS (KEEL_LINK_BASE - KEEL_LOAD_BASE)
