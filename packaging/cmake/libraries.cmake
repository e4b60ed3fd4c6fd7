# Third-party libraries, each as one interface target named hs_lib_*. Header-only forms are taken
# where the shared ones have names that differ between distributions (spdlog, fmt), and static
# archives for the command line program, which has to run on any glibc >= 2.36.
find_package(Threads REQUIRED)

function(hs_library name)
  cmake_parse_arguments(A "" "HEADER;DEBIAN" "LIBRARIES;DEFINITIONS" ${ARGN})
  add_library(hs_lib_${name} INTERFACE)
  find_path(HS_${name}_INCLUDE ${A_HEADER})
  if(NOT HS_${name}_INCLUDE)
    message(FATAL_ERROR "${A_HEADER} is missing: install Debian's ${A_DEBIAN} (./dev does it)")
  endif()
  target_include_directories(hs_lib_${name} SYSTEM INTERFACE ${HS_${name}_INCLUDE})
  target_compile_definitions(hs_lib_${name} INTERFACE ${A_DEFINITIONS})
  foreach(library IN LISTS A_LIBRARIES)
    find_library(HS_${name}_${library} NAMES lib${library}.a ${library})
    if(NOT HS_${name}_${library})
      message(FATAL_ERROR "lib${library} is missing: install Debian's ${A_DEBIAN} (./dev does it)")
    endif()
    target_link_libraries(hs_lib_${name} INTERFACE ${HS_${name}_${library}})
  endforeach()
endfunction()

hs_library(fmt HEADER fmt/format.h DEBIAN libfmt-dev DEFINITIONS FMT_HEADER_ONLY)
hs_library(spdlog HEADER spdlog/spdlog.h DEBIAN libspdlog-dev DEFINITIONS SPDLOG_FMT_EXTERNAL)
target_link_libraries(hs_lib_spdlog INTERFACE hs_lib_fmt Threads::Threads)
hs_library(json HEADER nlohmann/json.hpp DEBIAN nlohmann-json3-dev)
hs_library(pcre2 HEADER pcre2.h DEBIAN libpcre2-dev LIBRARIES pcre2-8
  DEFINITIONS PCRE2_CODE_UNIT_WIDTH=8 PCRE2_STATIC)
hs_library(utf8proc HEADER utf8proc.h DEBIAN libutf8proc-dev LIBRARIES utf8proc
  DEFINITIONS UTF8PROC_STATIC)
# Headers only: kernels/cpu/instruction_sets.cpp stands in for the little that is compiled.
hs_library(highway HEADER hwy/highway.h DEBIAN libhwy-dev)
hs_library(sqlite HEADER sqlite3.h DEBIAN libsqlite3-dev LIBRARIES sqlite3)
target_link_libraries(hs_lib_sqlite INTERFACE Threads::Threads ${CMAKE_DL_LIBS})
hs_library(cli11 HEADER CLI/CLI.hpp DEBIAN libcli11-dev)

if(HS_GUI)
  find_package(Qt6 6.4 REQUIRED COMPONENTS Core Gui Widgets PrintSupport Network Test)
  if(NOT MINGW) # there, icons are pictures: ui/shared/icon_file.h
    find_package(Qt6 6.4 REQUIRED COMPONENTS Svg)
  endif()
  find_package(QCustomPlotQt6 REQUIRED)
elseif(HS_TESTS)
  find_package(Qt6 6.4 REQUIRED COMPONENTS Core Test)
endif()
