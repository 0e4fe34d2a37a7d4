# Headers generated from the tables in abi/ and idl/. The generators rewrite a file only when its content changes, so a
# stamp records that they ran and unchanged headers rebuild nothing.
function(keel_generate name script)
  file(GLOB_RECURSE inputs CONFIGURE_DEPENDS ${ARGN})
  file(GLOB generators CONFIGURE_DEPENDS ${KEEL_ROOT}/tools/codegen/*.py)
  set(stamp ${KEEL_GEN}/${name}.stamp)
  add_custom_command(
    OUTPUT ${stamp}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${KEEL_GEN}
    COMMAND /usr/bin/python3 ${KEEL_ROOT}/tools/codegen/${script} ${KEEL_GEN}
    COMMAND ${CMAKE_COMMAND} -E touch ${stamp}
    DEPENDS ${inputs} ${generators}
    WORKING_DIRECTORY ${KEEL_ROOT}
    COMMENT "codegen ${name}"
    VERBATIM)
  add_custom_target(keel_generate_${name} DEPENDS ${stamp})
endfunction()

keel_generate(abi abi.py ${KEEL_ROOT}/abi/*.toml)
set(KEEL_GENERATED keel_generate_abi)
if(EXISTS ${KEEL_ROOT}/tools/codegen/idl.py)
  keel_generate(idl idl.py ${KEEL_ROOT}/idl/*)
  list(APPEND KEEL_GENERATED keel_generate_idl)
endif()
