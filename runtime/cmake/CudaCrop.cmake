# SPDX-License-Identifier: Apache-2.0
# Decides where the TensorRT engine crops: on the GPU where a CUDA compiler works, else on the CPU. Says which, and why.
# Sets FDE_CROP_SOURCES. Reads FDE_CUDA_CROP: AUTO, ON (stops where there is no compiler) or OFF.
# Hints: -DCMAKE_CUDA_COMPILER=<nvcc>, -DCUDAToolkit_ROOT=<the toolkit>, -DCMAKE_CUDA_ARCHITECTURES=<list>.

set(FDE_CROP_SOURCES runtime/src/device_crop_cpu.cc)
if(NOT FDE_CUDA_CROP MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "FDE_CUDA_CROP: got ${FDE_CUDA_CROP}, expected AUTO, ON or OFF. Give one of them.")
endif()
if(FDE_CUDA_CROP STREQUAL "OFF")
  message(STATUS "FDE_CUDA_CROP: the CPU crops, the face is uploaded (asked for by OFF)")
  return()
endif()

# JetPack and NVIDIA's packages leave the compiler off PATH. The one beside the runtime's header comes first.
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(FDE_NVCC nvcc HINTS "${CUDAToolkit_ROOT}" ENV CUDA_HOME "${FDE_CUDA_INCLUDE}/.."
                                   "${FDE_CUDA_INCLUDE}/../../.." PATHS /usr/local/cuda PATH_SUFFIXES bin)
  if(FDE_NVCC)
    set(ENV{CUDACXX} "${FDE_NVCC}")
  endif()
endif()
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  set(FDE_MISSING "no CUDA compiler that works (nvcc; package cuda-nvcc, on a Jetson nvidia-jetpack)")
  if(FDE_CUDA_CROP STREQUAL "ON")
    message(FATAL_ERROR "FDE_CUDA_CROP: got ${FDE_MISSING}, expected one. Install it, set CMAKE_CUDA_COMPILER or "
                        "CUDAToolkit_ROOT, or configure with -DFDE_CUDA_CROP=OFF.")
  endif()
  message(STATUS "FDE_CUDA_CROP: the CPU crops, the face is uploaded: got ${FDE_MISSING}")
  return()
endif()

# GPUs that TensorRT 10.3 to 11 runs on; newer ones compile the last one's PTX when the program starts.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  if(CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
    set(CMAKE_CUDA_ARCHITECTURES 87)
  else()
    set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 86-real 89-real 90)
  endif()
endif()
enable_language(CUDA)
# The CUDA runtime is the one that FindTensorRT.cmake has found; a second, static one would come with the language. After
# the language is enabled: CMake before 3.25 (JetPack 6 has 3.22) links its test of the compiler with what is set here.
set(CMAKE_CUDA_RUNTIME_LIBRARY None)
set(FDE_CROP_SOURCES runtime/src/device_crop_cuda.cc runtime/src/face_crop_cuda.cu runtime/src/face_crop_staging.cc)
list(JOIN CMAKE_CUDA_ARCHITECTURES " " FDE_ARCHITECTURES)
message(STATUS "FDE_CUDA_CROP: the GPU crops, a part of the frame is uploaded: ${CMAKE_CUDA_COMPILER} "
               "${CMAKE_CUDA_COMPILER_VERSION} for ${FDE_ARCHITECTURES}")
