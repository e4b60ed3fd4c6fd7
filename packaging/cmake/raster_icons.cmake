# hs_raster_icons(list.qrc variable): the same resources under the same names, but with each SVG
# replaced by a PNG of it. Qt reads a picture by what it holds when no plugin answers to its suffix,
# so style sheets and code need not know. Sets the variable to the generated list of resources.
function(hs_raster_icons list variable)
  find_program(HS_RSVG rsvg-convert)
  if(NOT HS_RSVG)
    message(FATAL_ERROR "rsvg-convert is missing: install Debian's librsvg2-bin (./dev does it)")
  endif()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${list})
  cmake_path(GET list PARENT_PATH folder)
  set(entries "")
  file(STRINGS ${list} lines REGEX "<file>")
  foreach(line IN LISTS lines)
    string(REGEX REPLACE ".*<file>(.*)</file>.*" "\\1" name "${line}")
    set(source ${folder}/${name})
    if(name MATCHES "[.]svg$")
      set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
      string(REGEX REPLACE "[/.]" "_" picture "${name}")
      set(picture ${CMAKE_BINARY_DIR}/icons/${picture}.png)
      # 96 pixels: an icon of 24 at four times the density; scaled down where less is needed.
      file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/icons)
      execute_process(COMMAND ${HS_RSVG} --height 96 --keep-aspect-ratio --output ${picture} ${source}
        COMMAND_ERROR_IS_FATAL ANY)
      set(source ${picture})
    endif()
    string(APPEND entries "    <file alias=\"${name}\">${source}</file>\n")
  endforeach()
  set(generated ${CMAKE_BINARY_DIR}/icons/hybridscope.qrc)
  file(CONFIGURE OUTPUT ${generated} @ONLY
    CONTENT "<RCC>\n  <qresource prefix=\"/\">\n@entries@  </qresource>\n</RCC>\n")
  set(${variable} ${generated} PARENT_SCOPE)
endfunction()
