# hs_windows_resources(target "Description"): icon, manifest and version of a program for Windows;
# nothing elsewhere. The manifest says: no administrator, sharp on every screen, long paths, UTF-8.
function(hs_windows_resources target description)
  if(NOT WIN32)
    return()
  endif()
  enable_language(RC)
  set(folder ${CMAKE_BINARY_DIR}/packaging)
  set(HS_ICON ${CMAKE_SOURCE_DIR}/resources/icons/hybridscope.ico)
  set(HS_TARGET ${target})
  set(HS_DESCRIPTION ${description})
  configure_file(${CMAKE_SOURCE_DIR}/packaging/windows/program.manifest.in
    ${folder}/${target}.manifest @ONLY)
  configure_file(${CMAKE_SOURCE_DIR}/packaging/windows/program.rc.in ${folder}/${target}.rc @ONLY)
  target_sources(${target} PRIVATE ${folder}/${target}.rc)
  set_source_files_properties(${folder}/${target}.rc PROPERTIES
    OBJECT_DEPENDS "${folder}/${target}.manifest;${HS_ICON}")
  if(MSVC) # its linker would add a manifest of its own
    target_link_options(${target} PRIVATE /MANIFEST:NO)
  endif()
endfunction()
