# hs_windows_resources(target "Description"): icon, manifest and version of a program for Windows;
# nothing elsewhere. The manifest says: no administrator, sharp on every screen, long paths, UTF-8.
function(hs_windows_resources target description)
  if(NOT WIN32)
    return()
  endif()
  enable_language(RC)
  set(folder ${CMAKE_BINARY_DIR}/packaging)
  set(HS_ICON ${folder}/hybridscope.ico)
  if(NOT EXISTS ${HS_ICON})
    find_program(HS_RSVG rsvg-convert NO_CMAKE_FIND_ROOT_PATH)
    find_program(HS_CONVERT NAMES convert magick NO_CMAKE_FIND_ROOT_PATH)
    if(NOT HS_RSVG OR NOT HS_CONVERT)
      message(FATAL_ERROR "rsvg-convert or convert is missing, which make the icon: install "
        "librsvg2-bin and imagemagick")
    endif()
    file(MAKE_DIRECTORY ${folder})
    foreach(size 16 24 32 48 64 128 256)
      set(picture ${folder}/icon-${size}.png)
      execute_process(COMMAND ${HS_RSVG} --width ${size} --height ${size} --output ${picture}
        ${CMAKE_SOURCE_DIR}/resources/icons/hybridscope.svg COMMAND_ERROR_IS_FATAL ANY)
      list(APPEND pictures ${picture})
    endforeach()
    execute_process(COMMAND ${HS_CONVERT} ${pictures} ${HS_ICON} COMMAND_ERROR_IS_FATAL ANY)
  endif()
  set(HS_TARGET ${target})
  set(HS_DESCRIPTION ${description})
  configure_file(${CMAKE_SOURCE_DIR}/packaging/windows/program.manifest.in
    ${folder}/${target}.manifest @ONLY)
  configure_file(${CMAKE_SOURCE_DIR}/packaging/windows/program.rc.in ${folder}/${target}.rc @ONLY)
  target_sources(${target} PRIVATE ${folder}/${target}.rc)
  set_source_files_properties(${folder}/${target}.rc PROPERTIES
    OBJECT_DEPENDS "${folder}/${target}.manifest;${HS_ICON}")
endfunction()
