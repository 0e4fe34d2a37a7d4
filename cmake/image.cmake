# keel_boot_image(NAME MANAGER CONF [FILES name=path ...] [PROGRAMS name ...] [LINKS name@target ...]): NAME.img with the program MANAGER as the first process and an
# archive of CONF as etc/services.conf and of each program that it names, and PROGRAMS, as /bin/PROGRAM. Programs that do
# not exist (yet) are left out: the manager reports them. LINKS are symbolic links.
function(keel_boot_image name manager conf)
  cmake_parse_arguments(arg "" "" "FILES;PROGRAMS;LINKS" ${ARGN})
  set(files etc/services.conf=${conf} ${arg_FILES} ${arg_LINKS})
  set(targets)
  file(STRINGS ${conf} lines REGEX "^exec *=")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${conf})
  list(TRANSFORM lines REPLACE ".*/bin/([^ ]+).*" "\\1")
  foreach(program ${lines} ${arg_PROGRAMS})
    if(TARGET ${program} AND NOT ${program} IN_LIST targets)
      list(APPEND files bin/${program}=$<TARGET_FILE:${program}>)
      list(APPEND targets ${program})
    endif()
  endforeach()
  add_custom_command(
    OUTPUT ${CMAKE_BINARY_DIR}/${name}.img
    COMMAND ${KEEL_ROOT}/tools/mkinitrd ${CMAKE_BINARY_DIR}/${name}.cpio ${files}
    COMMAND ${KEEL_ROOT}/tools/mkbootimage ${CMAKE_BINARY_DIR}/${name}.img $<TARGET_FILE:keel_kernel> $<TARGET_FILE:${manager}> ${CMAKE_BINARY_DIR}/${name}.cpio
    DEPENDS keel_kernel ${manager} ${targets} ${conf} ${KEEL_ROOT}/tools/mkinitrd ${KEEL_ROOT}/tools/mkbootimage
    VERBATIM)
  add_custom_target(image_${name} ALL DEPENDS ${CMAKE_BINARY_DIR}/${name}.img)
endfunction()
