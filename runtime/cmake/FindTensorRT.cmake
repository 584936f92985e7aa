# SPDX-License-Identifier: Apache-2.0
# Finds TensorRT's runtime and the CUDA runtime, as JetPack, Debian's packages of NVIDIA and the tar files install them.
# Sets FDE_TENSORRT_INCLUDES and FDE_TENSORRT_LIBRARIES, or says what is missing and stops.
# Hints: -DTensorRT_ROOT=<folder with include and lib>, -DCUDAToolkit_ROOT=<the toolkit>.

set(FDE_TENSORRT_MISSING "")
find_path(FDE_TENSORRT_INCLUDE NvInferRuntime.h HINTS "${TensorRT_ROOT}" ENV TensorRT_ROOT
          PATHS /usr/include/${CMAKE_LIBRARY_ARCHITECTURE} /usr/local/tensorrt /opt/tensorrt PATH_SUFFIXES include)
find_library(FDE_TENSORRT_LIBRARY NAMES nvinfer HINTS "${TensorRT_ROOT}" ENV TensorRT_ROOT
             PATHS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE} /usr/local/tensorrt /opt/tensorrt PATH_SUFFIXES lib lib64)
find_path(FDE_CUDA_INCLUDE cuda_runtime_api.h HINTS "${CUDAToolkit_ROOT}" ENV CUDA_HOME PATHS /usr/local/cuda
          PATH_SUFFIXES include targets/aarch64-linux/include targets/x86_64-linux/include)
find_library(FDE_CUDA_LIBRARY NAMES cudart HINTS "${CUDAToolkit_ROOT}" ENV CUDA_HOME PATHS /usr/local/cuda
             PATH_SUFFIXES lib64 lib targets/aarch64-linux/lib targets/x86_64-linux/lib)
if(NOT FDE_TENSORRT_INCLUDE)
  list(APPEND FDE_TENSORRT_MISSING "NvInferRuntime.h (package libnvinfer-headers-dev or tensorrt-dev)")
endif()
if(NOT FDE_TENSORRT_LIBRARY)
  list(APPEND FDE_TENSORRT_MISSING "libnvinfer.so (package libnvinfer-dev)")
endif()
if(NOT FDE_CUDA_INCLUDE)
  list(APPEND FDE_TENSORRT_MISSING "cuda_runtime_api.h (package cuda-cudart-dev)")
endif()
if(NOT FDE_CUDA_LIBRARY)
  list(APPEND FDE_TENSORRT_MISSING "libcudart.so (package cuda-cudart-dev)")
endif()
if(FDE_TENSORRT_MISSING)
  list(JOIN FDE_TENSORRT_MISSING ", " FDE_TENSORRT_MISSING)
  message(FATAL_ERROR "FDE_TENSORRT: got no ${FDE_TENSORRT_MISSING}; "
                      "expected TensorRT 10.3 to 11 and the CUDA runtime. "
                      "Install them (on a Jetson: apt install tensorrt), set TensorRT_ROOT and CUDAToolkit_ROOT, "
                      "or configure with -DFDE_TENSORRT=OFF.")
endif()

# Since 10.11 NV_TENSORRT_MAJOR is defined by TRT_MAJOR_ENTERPRISE. A header with neither number is taken as it is.
set(FDE_TENSORRT_VERSION "")
if(EXISTS "${FDE_TENSORRT_INCLUDE}/NvInferVersion.h")
  file(STRINGS "${FDE_TENSORRT_INCLUDE}/NvInferVersion.h" FDE_TENSORRT_LINES
       REGEX "^#define[ \t]+(NV_TENSORRT_(MAJOR|MINOR)|TRT_(MAJOR|MINOR)_ENTERPRISE)[ \t]+[0-9]+")
  foreach(part MAJOR MINOR)
    if(FDE_TENSORRT_LINES MATCHES "${part}(_ENTERPRISE)?[ \t]+([0-9]+)")
      string(APPEND FDE_TENSORRT_VERSION "${CMAKE_MATCH_2}.")
    endif()
  endforeach()
endif()
if(FDE_TENSORRT_VERSION MATCHES "^([0-9]+\\.[0-9]+)\\.$")
  set(FDE_TENSORRT_VERSION "${CMAKE_MATCH_1}")
  if(FDE_TENSORRT_VERSION VERSION_LESS 10.3 OR FDE_TENSORRT_VERSION VERSION_GREATER_EQUAL 12)
    message(FATAL_ERROR "FDE_TENSORRT: got TensorRT ${FDE_TENSORRT_VERSION} in ${FDE_TENSORRT_INCLUDE}, "
                        "expected 10.3 to 11. On a Jetson use JetPack 6.1 or later, elsewhere set TensorRT_ROOT, "
                        "or configure with -DFDE_TENSORRT=OFF.")
  endif()
endif()

set(FDE_TENSORRT_INCLUDES "${FDE_TENSORRT_INCLUDE}" "${FDE_CUDA_INCLUDE}")
set(FDE_TENSORRT_LIBRARIES "${FDE_TENSORRT_LIBRARY}" "${FDE_CUDA_LIBRARY}")
