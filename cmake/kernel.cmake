# keel.elf: the kernel. A position-independent ELF that keeps its relative relocations and applies them itself at boot.
set(KEEL_KERNEL_FLAGS
    ${KEEL_FREESTANDING_FLAGS} -mno-red-zone -mno-mmx -mno-sse -mno-sse2 -fpie -fdirect-access-external-data -DKEEL_KERNEL
    -I${KEEL_ROOT}/kernel/arch/include -I${KEEL_ROOT}/kernel/arch/${KEEL_ARCH}/include)

keel_glob_portable_kernel(portable_sources)
keel_glob(arch_sources ${KEEL_ROOT}/kernel/arch/${KEEL_ARCH}/*.cc ${KEEL_ROOT}/kernel/arch/${KEEL_ARCH}/*.S)
set(linker_script ${KEEL_ROOT}/kernel/arch/${KEEL_ARCH}/kernel.ld)

add_executable(keel_kernel ${portable_sources} ${arch_sources} ${KEEL_BASE_SOURCES} ${KEEL_FREESTANDING_SOURCES})
add_dependencies(keel_kernel ${KEEL_GENERATED})
target_link_libraries(keel_kernel PRIVATE keel_bearssl_kernel)
target_compile_options(keel_kernel PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:${KEEL_KERNEL_FLAGS}>
    $<$<COMPILE_LANGUAGE:ASM>:-I${KEEL_ROOT};-I${KEEL_GEN};-I${KEEL_ROOT}/kernel/arch/${KEEL_ARCH}/include;-g>)
target_link_options(keel_kernel PRIVATE
    -pie --no-dynamic-linker -ztext -zmax-page-size=4096 -znoexecstack --pack-dyn-relocs=relr --build-id=sha1
    --gc-sections --orphan-handling=error --fatal-warnings -T ${linker_script})
set_target_properties(keel_kernel PROPERTIES
    OUTPUT_NAME keel.elf RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR} LINK_DEPENDS ${linker_script})

# The fast paths live in registers alone: a frame pointer would cost one, and seven instructions a call. They have no
# buffers to overrun and no locals to clear.
keel_glob(fast_sources ${KEEL_ROOT}/kernel/ipc/fast*.cc)
set_source_files_properties(${fast_sources} PROPERTIES COMPILE_OPTIONS "-fomit-frame-pointer;-momit-leaf-frame-pointer;-fno-stack-protector;-ftrivial-auto-var-init=uninitialized")
