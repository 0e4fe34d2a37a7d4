# keel_program(NAME SOURCES a.cc ... [LIBS lib ...]): a user-space program, a static position-independent ELF.
# keel_library(NAME SOURCES a.cc ...): a static library for such programs.
set(KEEL_USER_FLAGS ${KEEL_FREESTANDING_FLAGS} -fPIE -fdirect-access-external-data)

add_library(keel_user_base STATIC ${KEEL_BASE_SOURCES} ${KEEL_FREESTANDING_SOURCES})
keel_glob(user_freestanding_sources ${KEEL_ROOT}/base/freestanding/user/*.cc)
target_sources(keel_user_base PRIVATE ${user_freestanding_sources})
target_compile_options(keel_user_base PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${KEEL_USER_FLAGS}>)
add_dependencies(keel_user_base ${KEEL_GENERATED})

function(keel_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  add_dependencies(${name} ${KEEL_GENERATED})
  target_compile_options(${name} PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:${KEEL_USER_FLAGS}> $<$<COMPILE_LANGUAGE:ASM>:-I${KEEL_ROOT};-I${KEEL_GEN};-g>)
  target_link_libraries(${name} PUBLIC ${arg_LIBS} keel_user_base)
endfunction()

function(keel_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  add_dependencies(${name} ${KEEL_GENERATED})
  target_compile_options(${name} PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:${KEEL_USER_FLAGS}> $<$<COMPILE_LANGUAGE:ASM>:-I${KEEL_ROOT};-I${KEEL_GEN};-g>)
  # Libraries refer to each other (the runtime to base, base to operator new of the runtime), hence the group.
  target_link_libraries(${name} PRIVATE --start-group ${arg_LIBS} keel_user_base --end-group)
  target_link_options(${name} PRIVATE
      -pie --no-dynamic-linker -ztext -zseparate-code -zmax-page-size=4096 -znoexecstack -zrelro -znow
      --pack-dyn-relocs=relr --build-id=sha1 --gc-sections --fatal-warnings)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/user)
endfunction()
