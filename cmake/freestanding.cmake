# libc++ 19 without a C library: our __config_site comes before its headers, our stub C headers after them.
set(KEEL_FREESTANDING_FLAGS
    ${KEEL_CXX_FLAGS} -O2 -ffreestanding -nostdlibinc -fno-exceptions -fno-rtti -fno-threadsafe-statics
    -fvisibility=hidden -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-unwind-tables
    -isystem${KEEL_ROOT}/base/freestanding/libcxx
    -isystem/usr/lib/llvm-19/include/c++/v1
    -isystem${KEEL_ROOT}/base/freestanding/libc
    -I${KEEL_ROOT} -I${KEEL_GEN})
# What every program and the kernel get, in every profile (docs/subsystems/hardening.md). The canary is a global, for the
# kernel's GS base is the user's.
set(KEEL_HARDENING_FLAGS -fstack-protector-strong -mstack-protector-guard=global -ftrivial-auto-var-init=zero)
list(APPEND KEEL_FREESTANDING_FLAGS ${KEEL_HARDENING_FLAGS})
if(KEEL_PROFILE STREQUAL dev)
  list(APPEND KEEL_FREESTANDING_FLAGS -DKEEL_PROFILE_DEV -DKEEL_LOCK_CHECKER)
elseif(KEEL_PROFILE STREQUAL hardened)
  list(APPEND KEEL_FREESTANDING_FLAGS -DKEEL_PROFILE_HARDENED -fsanitize=kcfi)
endif()

# What the compiler and the C++ library expect to find; compiled once for the kernel and once for user space.
keel_glob(KEEL_FREESTANDING_SOURCES ${KEEL_ROOT}/base/freestanding/*.cc ${KEEL_ROOT}/base/freestanding/${KEEL_ARCH}/*.cc)
keel_glob(KEEL_BASE_SOURCES ${KEEL_ROOT}/base/*.cc)
