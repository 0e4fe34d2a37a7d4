# Sources are found by folder: a new .cc file needs no entry anywhere. Tests stand beside the code as *_test.cc,
# fuzzers as *_fuzz.cc.
set(KEEL_KERNEL_FOLDERS core cap object ipc mm group syscall trace platform)

function(keel_glob out)
  file(GLOB found CONFIGURE_DEPENDS ${ARGN})
  list(FILTER found EXCLUDE REGEX "_(test|fuzz)\\.cc$")
  set(${out} ${found} PARENT_SCOPE)
endfunction()

function(keel_glob_portable_kernel out)
  set(patterns)
  foreach(folder ${KEEL_KERNEL_FOLDERS})
    list(APPEND patterns ${KEEL_ROOT}/kernel/${folder}/*.cc)
  endforeach()
  keel_glob(found ${patterns})
  if(KEEL_ARCH STREQUAL host)
    list(FILTER found EXCLUDE REGEX "kernel/platform/main\\.cc$")  # start-up of real hardware
  endif()
  set(${out} ${found} PARENT_SCOPE)
endfunction()
