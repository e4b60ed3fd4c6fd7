# What `cmake --install` puts where, beside the programs (app/CMakeLists.txt): bundled models and
# architectures, and on Linux what a desktop and a shell want to know. Data lie in
# share/hybridscope beside bin, where engine/lab/model_folders.cpp looks for them.
set(HS_APP_ID org.hybridscope.hybridscope)
set(hs_data ${CMAKE_INSTALL_DATADIR}/hybridscope)
install(FILES resources/models/ratio-family.json DESTINATION ${hs_data}/models)
install(DIRECTORY resources/models/ DESTINATION ${hs_data}/models FILES_MATCHING
  PATTERN "*.gguf" PATTERN train EXCLUDE)
install(DIRECTORY resources/architectures/ DESTINATION ${hs_data}/architectures FILES_MATCHING
  PATTERN "*.json")

# The version is project(VERSION); CHANGELOG.md gives its date, and has to know it.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS CHANGELOG.md)
file(STRINGS CHANGELOG.md hs_headings REGEX "^## ")
list(GET hs_headings 0 hs_newest)
if(NOT hs_newest MATCHES "^## ([0-9.]+) \\((20[0-9][0-9]-[0-9][0-9]-[0-9][0-9])\\)$" OR
   NOT CMAKE_MATCH_1 VERSION_EQUAL PROJECT_VERSION)
  message(FATAL_ERROR "CHANGELOG.md begins with \"${hs_newest}\", but this is version "
    "${PROJECT_VERSION}: expected \"## ${PROJECT_VERSION} (YEAR-MONTH-DAY)\"")
endif()
set(HS_RELEASE_DATE ${CMAKE_MATCH_2})
set(hs_made ${CMAKE_BINARY_DIR}/packaging)
file(MAKE_DIRECTORY ${hs_made})
if(CMAKE_HOST_UNIX) # where packages are made: for packaging/*/package.sh
  execute_process(COMMAND date --utc --date=${HS_RELEASE_DATE}T12:00:00Z +%s
    OUTPUT_VARIABLE HS_RELEASE_SECONDS OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  file(CONFIGURE OUTPUT ${hs_made}/release.sh @ONLY CONTENT "version=@PROJECT_VERSION@
app_id=@HS_APP_ID@
export SOURCE_DATE_EPOCH=@HS_RELEASE_SECONDS@
")
endif()

if(WIN32)
  configure_file(LICENSE ${hs_made}/LICENSE.txt @ONLY NEWLINE_STYLE WIN32)
  install(FILES ${hs_made}/LICENSE.txt DESTINATION .)
  install(FILES resources/third_party.json DESTINATION .)
  return()
endif()

set(hs_linux ${CMAKE_SOURCE_DIR}/packaging/linux)

# --- the desktop ---------------------------------------------------------------------------------
foreach(heading IN LISTS hs_headings)
  string(REGEX REPLACE "^## ([0-9.]+) \\((.*)\\)$" "    <release version=\"\\1\" date=\"\\2\"/>\n"
    release "${heading}")
  string(APPEND HS_RELEASES "${release}")
endforeach()
configure_file(${hs_linux}/desktop.in ${hs_made}/${HS_APP_ID}.desktop @ONLY)
configure_file(${hs_linux}/metainfo.xml.in ${hs_made}/${HS_APP_ID}.metainfo.xml @ONLY)
if(HS_GUI)
  install(FILES ${hs_made}/${HS_APP_ID}.desktop DESTINATION ${CMAKE_INSTALL_DATADIR}/applications)
  install(FILES ${hs_made}/${HS_APP_ID}.metainfo.xml DESTINATION ${CMAKE_INSTALL_DATADIR}/metainfo)
  install(FILES ${hs_linux}/gguf.xml RENAME hybridscope.xml
    DESTINATION ${CMAKE_INSTALL_DATADIR}/mime/packages)
  set(hs_icons ${CMAKE_INSTALL_DATADIR}/icons/hicolor)
  install(FILES resources/icons/hybridscope.svg RENAME ${HS_APP_ID}.svg
    DESTINATION ${hs_icons}/scalable/apps)
  # Pictures for desktops that draw no SVG; where nothing can make them, the SVG has to do.
  find_program(HS_RSVG rsvg-convert)
  if(HS_RSVG)
    foreach(size 16 22 24 32 48 64 128 256 512)
      set(picture ${hs_made}/icon-${size}.png)
      add_custom_command(OUTPUT ${picture} VERBATIM DEPENDS resources/icons/hybridscope.svg
        COMMAND ${HS_RSVG} --width ${size} --height ${size} --output ${picture}
          ${CMAKE_SOURCE_DIR}/resources/icons/hybridscope.svg)
      list(APPEND hs_documents ${picture})
      install(FILES ${picture} RENAME ${HS_APP_ID}.png
        DESTINATION ${hs_icons}/${size}x${size}/apps)
    endforeach()
  endif()
endif()

# --- the shell -----------------------------------------------------------------------------------
install(FILES ${hs_linux}/hybridscope-cli.bash RENAME hybridscope-cli
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
set(programs hybridscope-cli)
if(HS_GUI)
  list(APPEND programs hybridscope)
endif()
foreach(program IN LISTS programs)
  set(template ${hs_made}/${program}.1.in)
  configure_file(${hs_linux}/${program}.1.in ${template}) # leaves @WORDS WITH BLANKS@ as they are
  set(page ${hs_made}/${program}.1.gz)
  add_custom_command(OUTPUT ${page} VERBATIM
    DEPENDS ${program} ${template} ${hs_linux}/manual.sh
    COMMAND sh -c "\"$1\" \"$2\" \"$3\" > \"$4.text\" && gzip -9nc \"$4.text\" > \"$4\"" sh
      ${hs_linux}/manual.sh ${template} ${CMAKE_RUNTIME_OUTPUT_DIRECTORY} ${page})
  list(APPEND hs_documents ${page})
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endforeach()

# --- what a person should be able to read --------------------------------------------------------
# Debian's form of the newest heading and its list.
file(READ CHANGELOG.md changes)
string(FIND "${changes}" "${hs_newest}" begin)
string(SUBSTRING "${changes}" ${begin} -1 changes)
string(REPLACE "${hs_newest}\n" "" changes "${changes}")
string(REGEX REPLACE "\n## .*" "\n" changes "${changes}")
string(STRIP "${changes}" changes)
string(REGEX REPLACE "\n" "\n  " changes "${changes}")
execute_process(COMMAND ${CMAKE_COMMAND} -E env LC_ALL=C date --utc -R --date=@${HS_RELEASE_SECONDS}
  OUTPUT_VARIABLE stamp OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
set(HS_CONTACT "Hybridscope developers <hybridscope@hybridscope.invalid>")
file(CONFIGURE OUTPUT ${hs_made}/changelog @ONLY CONTENT
"hybridscope (@PROJECT_VERSION@) unstable; urgency=medium

  @changes@

 -- @HS_CONTACT@  @stamp@
")
add_custom_command(OUTPUT ${hs_made}/changelog.gz VERBATIM DEPENDS ${hs_made}/changelog
  COMMAND sh -c "gzip -9nc \"$1\" > \"$2\"" sh ${hs_made}/changelog ${hs_made}/changelog.gz)
list(APPEND hs_documents ${hs_made}/changelog.gz)
install(FILES ${hs_made}/changelog.gz ${hs_linux}/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES resources/models/README.md RENAME models.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

string(REGEX REPLACE "\n *[*] " "\n- " HS_RPM_CHANGES "\n${changes}")
execute_process(COMMAND ${CMAKE_COMMAND} -E env LC_ALL=C date --utc --date=@${HS_RELEASE_SECONDS}
    "+%a %b %d %Y"
  OUTPUT_VARIABLE HS_RPM_DATE OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
configure_file(${CMAKE_SOURCE_DIR}/packaging/flatpak/manifest.yml.in ${hs_made}/${HS_APP_ID}.yml @ONLY)
configure_file(${hs_linux}/hybridscope.spec.in ${hs_made}/hybridscope.spec @ONLY)

# All that the packages hold.
add_custom_target(documents ALL DEPENDS ${hs_documents})
add_dependencies(documents programs)
include(${CMAKE_SOURCE_DIR}/packaging/cmake/packages.cmake)
