// SPDX-License-Identifier: Apache-2.0
// A stand-in for the CUDA runtime: two GPUs in host memory, whose work counts as one's.
#include "gpu.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>
#include <utility>
#include <vector>

#include "kernel.h"

using Work = std::vector<std::function<void()>>;

thread_local int device_of_thread = 0;

struct CUstream_st {
  int device = device_of_thread;
  Work pending;
  Work recorded;
  bool recording = false;
};
struct CUgraph_st {
  Work work;
};
struct CUgraphExec_st {
  Work work;
};

namespace facedepth::test {
namespace {

constexpr std::uintptr_t kGpuBit = std::uintptr_t{1} << 55U;  // in each address of the GPU, in none of the host
constexpr std::size_t kAlignment = 256;                       // as cudaMalloc's

std::map<std::uintptr_t, std::size_t> pinned;  // first byte, size
std::map<std::uintptr_t, std::size_t> mapped;  // of these, what the GPU reads too
std::map<std::uintptr_t, std::size_t> on_gpu;  // by the host's address

std::uintptr_t number_of(const void* address) { return reinterpret_cast<std::uintptr_t>(address); }

bool holds(const std::map<std::uintptr_t, std::size_t>& allocations, std::uintptr_t address, std::size_t bytes) {
  auto after = allocations.upper_bound(address);
  if (after == allocations.begin()) return false;
  --after;
  return address + bytes <= after->first + after->second;
}

cudaError_t allocate(std::map<std::uintptr_t, std::size_t>& allocations, void** memory, std::size_t bytes) {
  *memory = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  std::memset(*memory, 0xff, bytes);
  allocations[number_of(*memory)] = bytes;
  ++gpu().counts.allocations;
  ++gpu().live_allocations;
  return cudaSuccess;
}

cudaError_t release(std::map<std::uintptr_t, std::size_t>& allocations, std::uintptr_t address) {
  if (allocations.erase(address) == 0) return cudaErrorInvalidValue;
  std::free(reinterpret_cast<void*>(address));
  --gpu().live_allocations;
  return cudaSuccess;
}

}  // namespace

Gpu& gpu() {
  static Gpu only;
  return only;
}

void reset_gpu() {
  gpu().counts = {};
  gpu().integrated = false;
  gpu().can_record = true;
  gpu().failing.clear();
}

void enqueue(cudaStream_t stream, std::function<void()> work) {
  if (stream->device != device_of_thread) throw std::logic_error("a stream of another GPU than the thread's");
  (stream->recording ? stream->recorded : stream->pending).push_back(std::move(work));
}

bool is_recording(cudaStream_t stream) { return stream->recording; }

bool fails(const char* call) {
  if (gpu().failing != call) return false;
  gpu().failing.clear();
  return true;
}

void* host_of(const void* address, std::size_t bytes) {
  const std::uintptr_t host = number_of(address) & ~kGpuBit;
  if (host == number_of(address) || !(holds(on_gpu, host, bytes) || holds(mapped, host, bytes))) {
    throw std::logic_error("not the GPU's address");
  }
  return reinterpret_cast<void*>(host);
}

}  // namespace facedepth::test

using namespace facedepth::test;

#define FAIL_IF_ASKED() \
  if (fails(__func__)) return cudaErrorMemoryAllocation

const char* cudaGetErrorString(cudaError_t status) {
  return status == cudaErrorMemoryAllocation ? "it was asked to fail" : "the call breaks a rule";
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaGetDevice(int* device) {
  *device = device_of_thread;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device > 1) return cudaErrorInvalidValue;
  device_of_thread = device;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {"Stand-in", 8, 7, 16};
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = gpu().integrated ? 1 : 0;
  return attribute == cudaDevAttrIntegrated ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned flags) {
  FAIL_IF_ASKED();
  const cudaError_t status = allocate(pinned, memory, bytes);
  if (flags == cudaHostAllocMapped) mapped[number_of(*memory)] = bytes;
  return status;
}
cudaError_t cudaHostGetDevicePointer(void** address, void* memory, unsigned flags) {
  if (mapped.count(number_of(memory)) == 0 || flags != 0) return cudaErrorInvalidValue;
  *address = reinterpret_cast<void*>(number_of(memory) | kGpuBit);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* memory) {
  mapped.erase(number_of(memory));
  return release(pinned, number_of(memory));
}
cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  FAIL_IF_ASKED();
  const cudaError_t status = allocate(on_gpu, memory, bytes);
  *memory = reinterpret_cast<void*>(number_of(*memory) | kGpuBit);
  return status;
}
cudaError_t cudaFree(void* memory) { return release(on_gpu, number_of(memory) & ~kGpuBit); }

// Memory of the host that is not page-locked would make a real copy wait: refused.
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  FAIL_IF_ASKED();
  const bool up = kind == cudaMemcpyHostToDevice;
  if (!holds(pinned, number_of(up ? from : to), bytes)) return cudaErrorInvalidValue;
  if (up) {
    ++gpu().counts.uploads;
    gpu().counts.uploaded_bytes += bytes;
    enqueue(stream, [=] { std::memcpy(host_of(to, bytes), from, bytes); });
  } else {
    ++gpu().counts.downloads;
    enqueue(stream, [=] { std::memcpy(to, host_of(from, bytes), bytes); });
  }
  return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void* kernel, dim3 grid, dim3 block, void** arguments, std::size_t shared_bytes,
                             cudaStream_t stream) {
  FAIL_IF_ASKED();
  if (!is_crop_launch(kernel, block.x) || block.y * block.z * grid.y * grid.z != 1 || shared_bytes != 0) {
    return cudaErrorInvalidValue;
  }
  ++gpu().counts.kernels;
  void* const header = *static_cast<void**>(arguments[0]);
  void* const out = *static_cast<void**>(arguments[1]);
  void* const statistics = *static_cast<void**>(arguments[2]);
  const int width = *static_cast<int*>(arguments[3]);
  enqueue(stream, [=] { run_crop_kernel(header, out, statistics, width, static_cast<int>(grid.x)); });
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  *stream = new CUstream_st;
  ++gpu().live_handles;
  return flags == cudaStreamNonBlocking ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream->device != device_of_thread) return cudaErrorInvalidValue;
  delete stream;
  --gpu().live_handles;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream->recording) return cudaErrorInvalidValue;
  Work work;
  work.swap(stream->pending);
  for (const auto& each : work) each();
  ++gpu().counts.waits;
  FAIL_IF_ASKED();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  FAIL_IF_ASKED();
  if (stream->recording || mode != cudaStreamCaptureModeThreadLocal) return cudaErrorInvalidValue;
  stream->recording = true;
  stream->recorded.clear();
  ++gpu().counts.recordings;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (!stream->recording) return cudaErrorInvalidValue;
  stream->recording = false;
  FAIL_IF_ASKED();
  *graph = new CUgraph_st{stream->recorded};
  ++gpu().live_handles;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* replay, cudaGraph_t graph, unsigned long long flags) {
  FAIL_IF_ASKED();
  if (flags != 0) return cudaErrorInvalidValue;
  *replay = new CUgraphExec_st{graph->work};
  ++gpu().live_handles;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t replay, cudaStream_t stream) {
  FAIL_IF_ASKED();
  for (const auto& each : replay->work) enqueue(stream, each);
  ++gpu().counts.replays;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  --gpu().live_handles;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t replay) {
  delete replay;
  --gpu().live_handles;
  return cudaSuccess;
}
