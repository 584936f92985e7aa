// SPDX-License-Identifier: Apache-2.0
// What the CUDA runtime gives out, with its owners; and the check of every call.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>

#include "facedepth/error.h"

namespace facedepth::cuda {

// Throws Error of the kind unavailable that names the call.
inline void check_cuda(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  throw Error(ErrorKind::unavailable, call, cudaGetErrorString(status), "success",
              "Check the GPU with nvidia-smi or tegrastats, and that the driver fits the CUDA runtime.");
}

inline int current_device() {
  int device = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  return device;
}

// Makes a GPU the thread's own, and the one before again at the end: every thread begins with GPU 0.
class OnDevice {
 public:
  explicit OnDevice(int device) : before_(current_device()), changed_(before_ != device) {
    if (changed_) check_cuda(cudaSetDevice(device), "cudaSetDevice");
  }
  ~OnDevice() {
    if (changed_) static_cast<void>(cudaSetDevice(before_));
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_;
  bool changed_;
};

struct HostFree {
  void operator()(unsigned char* memory) const noexcept { static_cast<void>(cudaFreeHost(memory)); }
};
struct DeviceFree {
  void operator()(unsigned char* memory) const noexcept { static_cast<void>(cudaFree(memory)); }
};
struct StreamDestroy {
  void operator()(cudaStream_t stream) const noexcept { static_cast<void>(cudaStreamDestroy(stream)); }
};
struct GraphDestroy {
  void operator()(cudaGraph_t graph) const noexcept { static_cast<void>(cudaGraphDestroy(graph)); }
};
struct GraphExecDestroy {
  void operator()(cudaGraphExec_t graph) const noexcept { static_cast<void>(cudaGraphExecDestroy(graph)); }
};
using HostMemory = std::unique_ptr<unsigned char, HostFree>;      // page-locked
using DeviceMemory = std::unique_ptr<unsigned char, DeviceFree>;  // its address is the GPU's
using Stream = std::unique_ptr<CUstream_st, StreamDestroy>;
using Graph = std::unique_ptr<CUgraph_st, GraphDestroy>;
using GraphExec = std::unique_ptr<CUgraphExec_st, GraphExecDestroy>;

// Return memory with undefined content. flags: cudaHostAllocDefault, or cudaHostAllocMapped for memory that the GPU
// reads where it is.
inline HostMemory allocate_host(std::size_t bytes, unsigned flags) {
  void* memory = nullptr;
  check_cuda(cudaHostAlloc(&memory, bytes, flags), "cudaHostAlloc");
  return HostMemory(static_cast<unsigned char*>(memory));
}
inline DeviceMemory allocate_device(std::size_t bytes) {
  void* memory = nullptr;
  check_cuda(cudaMalloc(&memory, bytes), "cudaMalloc");
  return DeviceMemory(static_cast<unsigned char*>(memory));
}

// Returns a stream that waits for no other one: a recording must not.
inline Stream make_stream() {
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return Stream(stream);
}

}  // namespace facedepth::cuda
