# Device code of the CUDA backend: one nvcc call per .cu makes a fatbin, which is embedded with
# .incbin. No CUDA language, no CUDA run time, nothing of NVIDIA's at link time; the driver loads the
# fatbins when a program opens the device. Without nvcc the build says so and goes on.
option(HS_CUDA "build the CUDA backend, where nvcc is" ON)
# "90a" is machine code for that target; "80-virtual" is code that the driver compiles for any card
# from the RTX 30 series on when it is first used.
# A release: 80;86;89;90a;100;120;80-virtual
set(HS_CUDA_ARCHS "90a;80-virtual" CACHE STRING "targets of the CUDA kernels")

if(HS_CUDA)
  find_program(HS_NVCC nvcc HINTS ENV CUDA_PATH PATHS /usr/local/cuda/bin PATH_SUFFIXES bin
    NO_CMAKE_FIND_ROOT_PATH)
  if(HS_NVCC)
    get_filename_component(hs_nvcc_folder "${HS_NVCC}" REALPATH)
    get_filename_component(hs_nvcc_folder "${hs_nvcc_folder}" DIRECTORY)
    find_path(HS_CUDA_INCLUDE cuda.h NO_CMAKE_FIND_ROOT_PATH
      HINTS "${hs_nvcc_folder}/../include" "${hs_nvcc_folder}/../targets/x86_64-linux/include")
  endif()
endif()
if(HS_CUDA AND HS_NVCC AND HS_CUDA_INCLUDE)
  set(HS_HAVE_CUDA ON)
  message(STATUS "CUDA backend: ${HS_NVCC}, for ${HS_CUDA_ARCHS}")
else()
  set(HS_HAVE_CUDA OFF)
  message(STATUS "CUDA backend: left out (no nvcc, or HS_CUDA is off)")
endif()

# hs_embed_fatbins(target a.cu ...): also makes hs::cuda::fatbins(), the list of them.
function(hs_embed_fatbins target)
  set(targets "")
  foreach(arch IN LISTS HS_CUDA_ARCHS)
    if(arch MATCHES "^(.*)-virtual$")
      list(APPEND targets -gencode "arch=compute_${CMAKE_MATCH_1},code=compute_${CMAKE_MATCH_1}")
    else()
      list(APPEND targets -gencode "arch=compute_${arch},code=sm_${arch}")
    endif()
  endforeach()
  set(declarations "")
  set(entries "")
  foreach(source IN LISTS ARGN)
    get_filename_component(name ${source} NAME_WE)
    get_filename_component(path ${source} ABSOLUTE)
    set(symbol hs_fatbin_${name})
    set(fatbin ${CMAKE_CURRENT_BINARY_DIR}/${name}.fatbin)
    add_custom_command(OUTPUT ${fatbin}
      COMMAND ${HS_NVCC} -std=c++20 -O3 -Werror all-warnings -I ${CMAKE_SOURCE_DIR} ${targets}
        -MD -MF ${fatbin}.d -MT ${fatbin} -fatbin -o ${fatbin} ${path}
      DEPENDS ${path} DEPFILE ${fatbin}.d COMMENT "nvcc ${name}.cu (${HS_CUDA_ARCHS})" VERBATIM)
    set(assembly ${CMAKE_CURRENT_BINARY_DIR}/${name}_fatbin.S)
    file(CONFIGURE OUTPUT ${assembly} @ONLY CONTENT [=[
#if defined(__ELF__)
    .section .rodata, "a", %progbits
#else
    .section .rdata, "dr"
#endif
    .balign 64
    .global @symbol@
@symbol@:
    .incbin "@fatbin@"
#if defined(__ELF__)
    .section .note.GNU-stack, "", %progbits
#endif
]=])
    set_source_files_properties(${assembly} PROPERTIES OBJECT_DEPENDS ${fatbin})
    target_sources(${target} PRIVATE ${assembly})
    string(APPEND declarations "extern \"C\" const unsigned char ${symbol}[];\n")
    string(APPEND entries "        {\"${name}\", ${symbol}},\n")
  endforeach()
  set(archs "${HS_CUDA_ARCHS}")
  string(REPLACE ";" ", " archs "${archs}")
  file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/fatbins.cpp @ONLY CONTENT [=[
// Made by the build: the device code in this program.
#include "kernels/cuda/abi.h"

@declarations@
namespace hs::cuda {

std::span<const Fatbin> fatbins() {
    static const Fatbin all[] = {
@entries@    };
    return all;
}

const char* fatbin_targets() {
    return "@archs@";
}

} // namespace hs::cuda
]=])
  target_sources(${target} PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/fatbins.cpp)
endfunction()
