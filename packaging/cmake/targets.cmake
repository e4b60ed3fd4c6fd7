# How targets are made here: one include root, warnings as errors, hidden global choices in one place.
add_library(hs_options INTERFACE)
target_include_directories(hs_options INTERFACE ${CMAKE_SOURCE_DIR})
if(MSVC)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "cl.exe has no statement expressions, which TRY is made of: take Visual "
      "Studio's clang-cl, by -DCMAKE_CXX_COMPILER=clang-cl or -T ClangCL")
  endif()
  target_compile_options(hs_options INTERFACE /W3 /EHsc /utf-8 /bigobj)
  target_compile_definitions(hs_options INTERFACE NOMINMAX _USE_MATH_DEFINES
    _CRT_SECURE_NO_WARNINGS)
else()
  target_compile_options(hs_options INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Werror
    -ffile-prefix-map=${CMAKE_SOURCE_DIR}=.)
endif()
target_compile_definitions(hs_options INTERFACE HS_VERSION="${PROJECT_VERSION}")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 gives these for correct code: moved-from locals of TRY, PR 105329 (std::string), and
  # inserts into small vectors.
  target_compile_options(hs_options INTERFACE -Wno-maybe-uninitialized -Wno-restrict
    -Wno-stringop-overflow)
endif()
if(HS_SANITIZE)
  target_compile_options(hs_options INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  target_link_options(hs_options INTERFACE -fsanitize=address,undefined)
  target_compile_definitions(hs_options INTERFACE HS_SANITIZE)
endif()
if(HS_FUZZ)
  # Coverage in every library: without it a fuzzer sees no way through the parsers.
  target_compile_options(hs_options INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(hs_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(MINGW)
  target_link_options(hs_options INTERFACE -static -static-libgcc -static-libstdc++
    -Wl,--no-insert-timestamp)
endif()

# hs_engine_library(hs_files SOURCES a.cpp ... LINKS hs_core ...): no Qt, ever.
function(hs_engine_library name)
  cmake_parse_arguments(A "" "" "SOURCES;LINKS" ${ARGN})
  add_library(${name} STATIC ${A_SOURCES})
  target_link_libraries(${name} PUBLIC hs_options ${A_LINKS})
  # Checks are compiled without optimisation, which halves the time it takes, except where the
  # fuzzers and the tests spend theirs.
  if(HS_SANITIZE AND name MATCHES "^hs_(core|files|text|backend)$")
    target_compile_options(${name} PRIVATE -O1)
  endif()
endfunction()

# hs_test(name SOURCES a_test.cpp LINKS hs_files): a Qt Test program and its ctest entry.
# Each test file includes its own .moc and ends with QTEST_GUILESS_MAIN or QTEST_MAIN.
function(hs_test name)
  cmake_parse_arguments(A "" "TIMEOUT" "SOURCES;LINKS" ${ARGN})
  add_executable(${name} ${A_SOURCES})
  set_target_properties(${name} PROPERTIES AUTOMOC ON
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${A_LINKS} Qt6::Test hs_options)
  target_compile_definitions(${name} PRIVATE HS_TEST_DATA="${CMAKE_SOURCE_DIR}/tests"
    HS_TEST_CHECKPOINTS="${CMAKE_BINARY_DIR}/tests/checkpoints"
    HS_MODELS="${CMAKE_SOURCE_DIR}/resources/models")
  add_test(NAME ${name} COMMAND ${name})
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 300)
  endif()
  if(HS_SANITIZE)
    math(EXPR A_TIMEOUT "4 * ${A_TIMEOUT}")
  endif()
  math(EXPR function_timeout "1000 * ${A_TIMEOUT}") # Qt Test has one of its own, in ms
  set_tests_properties(${name} PROPERTIES TIMEOUT ${A_TIMEOUT}
    ENVIRONMENT "QT_QPA_PLATFORM=offscreen;QT_LOGGING_RULES=qt.qpa.*=false;QTEST_FUNCTION_TIMEOUT=${function_timeout}")
endfunction()

# hs_fuzz(name SOURCES a_fuzz.cpp LINKS hs_files): a libFuzzer target over tests/fuzz/corpus/<name>.
# All of them, and only what they need, are built by the target `fuzzers`.
function(hs_fuzz name)
  cmake_parse_arguments(A "" "" "SOURCES;LINKS" ${ARGN})
  if(HS_FUZZ)
    add_executable(${name} ${A_SOURCES})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
    target_link_libraries(${name} PRIVATE ${A_LINKS} hs_options)
    target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    if(NOT TARGET fuzzers)
      add_custom_target(fuzzers)
    endif()
    add_dependencies(fuzzers ${name})
  endif()
endfunction()
