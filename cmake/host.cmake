# The portable part of Keel as a host program: unit tests under sanitizers, fuzzers.
#   keel_test(NAME SOURCES a_test.cc ... [LIBS lib ...])    a GoogleTest binary, registered in ctest test by test
#   keel_fuzz(NAME SOURCES a_fuzz.cc ... [LIBS lib ...])    a libFuzzer binary (preset fuzz only)
enable_testing()
include(GoogleTest)
find_package(GTest REQUIRED)

string(REPLACE "," ";" sanitizers "${KEEL_SANITIZE}")
set(KEEL_HOST_FLAGS
    ${KEEL_CXX_FLAGS} -O1 -DKEEL_HOST -DKEEL_LOCK_CHECKER -I${KEEL_ROOT} -I${KEEL_GEN} -I${KEEL_ROOT}/kernel/arch/include
    -I${KEEL_ROOT}/kernel/arch/host/include
    -fsanitize=${KEEL_SANITIZE})
if("undefined" IN_LIST sanitizers)
  list(APPEND KEEL_HOST_FLAGS -fno-sanitize-recover=all)
endif()
if(KEEL_SIMULATION)
  list(APPEND KEEL_HOST_FLAGS -DKEEL_SIMULATION -O2)
  if("address" IN_LIST sanitizers)  # the calling convention of the fast paths and instrumented stacks do not go together
    list(APPEND KEEL_HOST_FLAGS -mllvm -asan-stack=0)
  endif()
endif()
add_compile_options(${KEEL_HOST_FLAGS})
add_link_options(-fuse-ld=lld-19 -fsanitize=${KEEL_SANITIZE})

keel_glob(base_sources ${KEEL_ROOT}/base/*.cc)
keel_glob_portable_kernel(portable_sources)
# Start-up of the hardware; a host program makes its Machine itself.
list(FILTER portable_sources EXCLUDE REGEX "/kernel/platform/main\\.cc$")
keel_glob(host_sources ${KEEL_ROOT}/kernel/arch/host/*.cc)
add_library(keel_kernel_host STATIC ${base_sources} ${portable_sources} ${host_sources})
add_dependencies(keel_kernel_host ${KEEL_GENERATED})
target_link_libraries(keel_kernel_host PUBLIC keel_bearssl_host)

function(keel_test name)
  if(KEEL_FUZZ)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  add_dependencies(${name} ${KEEL_GENERATED})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} GTest::gtest_main)
  # Discovery at test time: a build never runs what it built.
  gtest_discover_tests(${name} TEST_PREFIX "${name}." DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT 300)
endfunction()

function(keel_fuzz name)
  if(NOT KEEL_FUZZ)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  add_dependencies(${name} ${KEEL_GENERATED})
  target_link_libraries(${name} PRIVATE ${arg_LIBS})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzzers)
endfunction()

# keel_folder_tests(NAME FOLDER [LIBS lib ...]): all *_test.cc of a folder become one test binary.
function(keel_folder_tests name folder)
  cmake_parse_arguments(arg "" "" "LIBS" ${ARGN})
  file(GLOB tests CONFIGURE_DEPENDS ${KEEL_ROOT}/${folder}/*_test.cc)
  if(tests)
    keel_test(${name} SOURCES ${tests} LIBS ${arg_LIBS})
  endif()
endfunction()

keel_folder_tests(base_test base LIBS keel_kernel_host)
foreach(folder ${KEEL_KERNEL_FOLDERS})
  keel_folder_tests(kernel_${folder}_test kernel/${folder} LIBS keel_kernel_host)
endforeach()

# Every *_fuzz.cc is a fuzzer of its own, named after its file.
file(GLOB_RECURSE fuzzers CONFIGURE_DEPENDS ${KEEL_ROOT}/base/*_fuzz.cc ${KEEL_ROOT}/kernel/*_fuzz.cc)
foreach(fuzzer ${fuzzers})
  get_filename_component(name ${fuzzer} NAME_WE)
  keel_fuzz(${name} SOURCES ${fuzzer} LIBS keel_kernel_host)
endforeach()
