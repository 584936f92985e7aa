// SPDX-License-Identifier: Apache-2.0
// A stand-in for libcuda: one GPU in host memory, with a log and failures on demand. Others can be seen beside it.
//
// Work on a stream is done when somebody waits for the stream or the context, not when it is enqueued, so what forgets to
// wait reads old bytes. A launch of any kernel runs the crop kernel on the host.
#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kernel_host.cc"

namespace {
using Work = std::vector<std::function<void()>>;

std::mutex guard;
std::mutex kernel_guard;  // the kernel's indices are global
std::string log_text;
std::string failing;  // the name of a function that fails
int failing_code = 0;
int failing_times = 0;
bool lost = false;
bool active = false;
bool integrated = false;
int retained = 0;
int live_at_reset = -1;  // allocations that were left when the context was torn down
int resets = 0;
std::map<void*, Work> pending;    // of each stream
std::map<void*, Work> recorded;   // of each stream that is being captured
std::set<void*> broken;           // streams whose capture somebody has made invalid
std::map<void*, Work> graphs;     // graphs and what can be launched
std::map<void*, std::size_t> device_memory;
std::map<void*, std::size_t> host_memory;
std::map<void*, std::pair<std::size_t, int>> placed;  // a test's own memory: bytes, and the GPU that it is said to be of
std::set<void*> running;                              // streams whose work somebody does just now
std::condition_variable has_run;
int gpus = 1;
std::size_t next_handle = 0x1000;
thread_local int depth = 0;  // of this thread's stack of contexts
thread_local int capture_mode = 0;  // of this thread, CU_STREAM_CAPTURE_MODE_: 0 GLOBAL, 1 THREAD_LOCAL
std::thread::id capturing_thread;   // that has begun a capture in the global mode, or none
bool capture_is_broken = false;

void* new_handle() { return reinterpret_cast<void*>(next_handle += 16); }

int enter(const char* name) {
  log_text += name;
  log_text += '\n';
  if (lost) return 700;
  if (failing == name && failing_times != 0) {
    if (failing_times > 0) --failing_times;
    return failing_code;
  }
  return 0;
}

int enter_in_context(const char* name) {
  const int code = enter(name);
  return code != 0 ? code : depth > 0 ? 0 : 201;  // CUDA_ERROR_INVALID_CONTEXT
}

// What is unsafe while somebody captures: it fails, and breaks a capture in the global mode.
int enter_unsafe(const char* name) {
  if (const int code = enter_in_context(name)) return code;
  if (capturing_thread == std::thread::id()) return 0;
  if (capturing_thread != std::this_thread::get_id() && capture_mode != 0) return 0;
  capture_is_broken = true;
  return 900;  // CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
}

void enqueue(void* stream, std::function<void()> work) {
  const auto capture = recorded.find(stream);
  (capture == recorded.end() ? pending[stream] : capture->second).push_back(std::move(work));
}

// Does a stream's work, after what another thread does of it; without the lock, for it may wait for Python's.
void run_pending(void* stream) {
  std::unique_lock<std::mutex> lock(guard);
  has_run.wait(lock, [=] { return running.count(stream) == 0; });
  Work work;
  work.swap(pending[stream]);
  running.insert(stream);
  lock.unlock();
  for (const auto& each : work) each();
  lock.lock();
  running.erase(stream);
  has_run.notify_all();
}

bool holds(void* first, std::size_t size, std::uintptr_t address) {
  const auto start = reinterpret_cast<std::uintptr_t>(first);
  return start <= address && address - start < size;
}

}  // namespace

#define LOCKED const std::lock_guard<std::mutex> locked(guard)
#define ENTER(name)                             \
  LOCKED;                                       \
  if (const int code = enter(name)) return code
#define ENTER_IN_CONTEXT(name)                             \
  LOCKED;                                                  \
  if (const int code = enter_in_context(name)) return code
#define ENTER_UNSAFE(name)                             \
  LOCKED;                                              \
  if (const int code = enter_unsafe(name)) return code

extern "C" {
const char* fake_log() { return log_text.c_str(); }
void fake_clear_log() { log_text.clear(); }
void fake_reset(int is_integrated) {
  log_text.clear();
  failing.clear();
  lost = active = false;
  integrated = is_integrated != 0;
  pending.clear();
  recorded.clear();
  broken.clear();
  graphs.clear();
  device_memory.clear();  // not freed: an object of an earlier test must not free what a later one has
  host_memory.clear();
  placed.clear();
  gpus = 1;
  live_at_reset = -1;
  capturing_thread = {};
}
// As cudaStreamBeginCapture and cudaStreamEndCapture in the global mode; the end returns a CUresult.
void fake_begin_global_capture() {
  LOCKED;
  capturing_thread = std::this_thread::get_id();
  capture_is_broken = false;
}
int fake_end_global_capture() {
  LOCKED;
  capturing_thread = {};
  return capture_is_broken ? 901 : 0;  // CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
}
int fake_capture_mode() { return capture_mode; }
void fake_fail(const char* name, int code, int times) {
  failing = name;
  failing_code = code;
  failing_times = times;
}
void fake_lose() { lost = true; }
void fake_add_gpu() { ++gpus; }
// Says that memory of the test's own is of a GPU.
void fake_place(void* address, std::size_t size, int gpu) {
  LOCKED;
  placed[address] = {size, gpu};
}
int fake_is_lost() { return lost; }
int fake_resets() { return resets; }
void fake_activate() { active = true; }
int fake_is_capturing(void* stream) { return recorded.count(stream) != 0; }
int fake_graphs() { return static_cast<int>(graphs.size()); }
int fake_device_allocations() { return static_cast<int>(device_memory.size()); }
int fake_host_allocations() { return static_cast<int>(host_memory.size()); }
int fake_retained() { return retained; }
int fake_live_at_reset() { return live_at_reset; }
// Enqueues a call of the test's own, as TensorRT enqueues its kernels; returns a CUresult.
int fake_enqueue(void* stream, void (*work)(std::size_t), std::size_t token) {
  ENTER_IN_CONTEXT("fake_enqueue");
  enqueue(stream, [=] { work(token); });
  return 0;
}

int cuInit(unsigned flags) {
  ENTER("cuInit");
  return flags == 0 ? 0 : 1;
}
int cuDriverGetVersion(int* version) {
  ENTER("cuDriverGetVersion");
  *version = 12060;
  return 0;
}
int cuDeviceGetCount(int* count) {
  ENTER("cuDeviceGetCount");
  *count = gpus;
  return 0;
}
int cuDeviceGet(int* device, int index) {
  ENTER("cuDeviceGet");
  *device = index;
  return index < gpus ? 0 : 101;
}
int cuDeviceGetName(char* name, int size, int device) {
  ENTER("cuDeviceGetName");
  std::strncpy(name, device == 0 ? "Fake Orin" : "Fake Thor", static_cast<std::size_t>(size));
  return 0;
}
int cuDeviceComputeCapability(int* major, int* minor, int) {
  ENTER("cuDeviceComputeCapability");
  *major = 8;
  *minor = 7;
  return 0;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
  ENTER("cuDeviceGetAttribute");
  constexpr int kMultiprocessorCount = 16;  // CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT; an AGX Orin has 16 too
  constexpr int kIntegrated = 18;           // CU_DEVICE_ATTRIBUTE_INTEGRATED
  *value = attribute == kMultiprocessorCount ? 16 : attribute == kIntegrated && integrated ? 1 : 0;
  return 0;
}
int cuGetErrorName(int code, const char** text) {
  *text = code == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR_FAKE";
  return 0;
}
int cuGetErrorString(int code, const char** text) {
  *text = code == 700 ? "an illegal memory access was encountered" : "it was asked to fail";
  return 0;
}
int cuDevicePrimaryCtxGetState(int, unsigned* flags, int* is_active) {
  ENTER("cuDevicePrimaryCtxGetState");
  *flags = 0;
  *is_active = active;
  return 0;
}
int cuDevicePrimaryCtxRetain(void** context, int) {
  ENTER("cuDevicePrimaryCtxRetain");
  ++retained;
  *context = reinterpret_cast<void*>(0xC0);
  return 0;
}
int cuDevicePrimaryCtxRelease_v2(int) {
  ENTER("cuDevicePrimaryCtxRelease_v2");
  --retained;
  return 0;
}
int cuDevicePrimaryCtxReset_v2(int) {
  LOCKED;
  lost = false;
  ++resets;
  pending.clear();
  recorded.clear();
  broken.clear();
  live_at_reset = static_cast<int>(device_memory.size() + host_memory.size());
  return enter("cuDevicePrimaryCtxReset_v2");
}
int cuCtxPushCurrent_v2(void*) {  // works in a lost context too
  LOCKED;
  log_text += "cuCtxPushCurrent_v2\n";
  ++depth;
  return 0;
}
int cuCtxPopCurrent_v2(void** context) {
  LOCKED;
  log_text += "cuCtxPopCurrent_v2\n";
  *context = reinterpret_cast<void*>(0xC0);
  if (depth == 0) return 201;
  --depth;
  return 0;
}
int cuCtxSynchronize() {
  std::vector<void*> streams;
  {
    ENTER_IN_CONTEXT("cuCtxSynchronize");
    const bool captures = capturing_thread != std::thread::id();
    if (captures) capture_is_broken = true;
    for (const auto& each : recorded) broken.insert(each.first);
    if (captures || !recorded.empty()) return 900;  // CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
    for (const auto& each : pending) streams.push_back(each.first);
  }
  for (void* stream : streams) run_pending(stream);
  return 0;
}
int cuPointerGetAttribute(void* data, int attribute, unsigned long long address) {
  ENTER_IN_CONTEXT("cuPointerGetAttribute");
  if (attribute != 9) return 1;  // CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
  int& gpu = *static_cast<int*>(data);
  for (const auto& [first, of] : placed) {
    if (!holds(first, of.first, address)) continue;
    gpu = of.second;
    return 0;
  }
  for (const auto* memory : {&device_memory, &host_memory}) {
    for (const auto& [first, size] : *memory) {
      if (!holds(first, size, address)) continue;
      gpu = 0;
      return 0;
    }
  }
  return 1;  // CUDA_ERROR_INVALID_VALUE
}
int cuMemAlloc_v2(void** address, std::size_t size) {
  ENTER_UNSAFE("cuMemAlloc_v2");
  *address = std::aligned_alloc(256, (size + 255) / 256 * 256);
  std::memset(*address, 0xff, size);
  device_memory[*address] = size;
  return 0;
}
int cuMemFree_v2(void* address) {
  LOCKED;
  if (device_memory.erase(address) == 0) return 1;
  std::free(address);
  return enter_in_context("cuMemFree_v2");
}
int cuMemHostAlloc(void** address, std::size_t size, unsigned flags) {
  ENTER_UNSAFE("cuMemHostAlloc");
  if ((flags & 2) == 0) return 1;  // CU_MEMHOSTALLOC_DEVICEMAP
  *address = std::aligned_alloc(4096, (size + 4095) / 4096 * 4096);
  std::memset(*address, 0xff, size);
  host_memory[*address] = size;
  return 0;
}
int cuMemFreeHost(void* address) {
  LOCKED;
  if (host_memory.erase(address) == 0) return 1;
  std::free(address);
  return enter_in_context("cuMemFreeHost");
}
int cuMemHostGetDevicePointer_v2(void** address, void* host, unsigned flags) {
  ENTER_IN_CONTEXT("cuMemHostGetDevicePointer_v2");
  *address = host;
  return flags == 0 && host_memory.count(host) != 0 ? 0 : 1;
}
int cuMemcpyHtoDAsync_v2(void* to, const void* from, std::size_t size, void* stream) {
  ENTER_IN_CONTEXT("cuMemcpyHtoDAsync_v2");
  enqueue(stream, [=] { std::memcpy(to, from, size); });
  return 0;
}
int cuMemcpyDtoHAsync_v2(void* to, const void* from, std::size_t size, void* stream) {
  ENTER_IN_CONTEXT("cuMemcpyDtoHAsync_v2");
  enqueue(stream, [=] { std::memcpy(to, from, size); });
  return 0;
}
int cuStreamCreate(void** stream, unsigned flags) {
  ENTER_IN_CONTEXT("cuStreamCreate");
  *stream = new_handle();
  return flags == 1 ? 0 : 1;  // CU_STREAM_NON_BLOCKING
}
int cuStreamDestroy_v2(void*) {
  ENTER_IN_CONTEXT("cuStreamDestroy_v2");
  return 0;
}
int cuStreamSynchronize(void* stream) {
  {
    ENTER_IN_CONTEXT("cuStreamSynchronize");
    if (recorded.count(stream) != 0) return 900;  // CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
  }
  run_pending(stream);
  return 0;
}
int cuStreamQuery(void* stream) {
  ENTER_IN_CONTEXT("cuStreamQuery");
  if (recorded.count(stream) != 0) return 900;  // CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
  return pending[stream].empty() && running.count(stream) == 0 ? 0 : 600;  // CUDA_ERROR_NOT_READY
}
int cuModuleLoadData(void** module, const void* image) {
  ENTER_IN_CONTEXT("cuModuleLoadData");
  if (std::strncmp(static_cast<const char*>(image), "cubin", 5) != 0) return 209;  // CUDA_ERROR_NO_BINARY_FOR_GPU
  *module = new_handle();
  return 0;
}
int cuModuleUnload(void*) {
  ENTER_IN_CONTEXT("cuModuleUnload");
  return 0;
}
int cuModuleGetFunction(void** function, void*, const char* name) {
  ENTER_IN_CONTEXT("cuModuleGetFunction");
  *function = new_handle();
  return std::strcmp(name, "fde_face_crop") == 0 ? 0 : 500;
}
int cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared_bytes, void* stream, void** arguments,
                   void** extra) {
  ENTER_IN_CONTEXT("cuLaunchKernel");
  const bool flat = grid_z == 1 && block_y == 1 && block_z == 1 && shared_bytes == 0 && extra == nullptr;
  if (function == nullptr || !flat || block_x == 0 || block_x > kMaxThreads || block_x % 32 != 0) return 1;
  const auto header = *static_cast<const void**>(arguments[0]);
  const auto out = *static_cast<float**>(arguments[1]);
  const auto statistics = *static_cast<float**>(arguments[2]);
  const int out_width = *static_cast<int*>(arguments[3]);
  enqueue(stream, [=] {
    const std::lock_guard<std::mutex> one_grid(kernel_guard);
    fake_launch(header, out, statistics, out_width, grid_x, grid_y, 1);
  });
  return 0;
}
int cuThreadExchangeStreamCaptureMode(int* mode) {  // works in a lost context too
  std::swap(*mode, capture_mode);
  return 0;
}
int cuStreamBeginCapture_v2(void* stream, int mode) {
  ENTER_IN_CONTEXT("cuStreamBeginCapture_v2");
  if (mode != 1 || recorded.count(stream) != 0) return 1;  // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
  recorded[stream] = {};
  return 0;
}
int cuStreamEndCapture(void* stream, void** graph) {
  LOCKED;
  const auto capture = recorded.find(stream);
  if (capture == recorded.end()) return 1;
  Work work = std::move(capture->second);
  recorded.erase(capture);
  const bool is_broken = broken.erase(stream) != 0;
  if (const int code = enter_in_context("cuStreamEndCapture")) return code;
  if (is_broken) return 901;  // CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
  *graph = new_handle();
  graphs[*graph] = std::move(work);
  return 0;
}
int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long flags) {
  ENTER_IN_CONTEXT("cuGraphInstantiateWithFlags");
  if (graphs.count(graph) == 0 || flags != 0) return 1;
  *executable = new_handle();
  graphs[*executable] = graphs[graph];
  return 0;
}
int cuGraphLaunch(void* executable, void* stream) {
  ENTER_IN_CONTEXT("cuGraphLaunch");
  const auto graph = graphs.find(executable);
  if (graph == graphs.end()) return 1;
  for (const auto& each : graph->second) enqueue(stream, each);
  return 0;
}
int cuGraphExecDestroy(void* executable) {
  LOCKED;
  if (graphs.erase(executable) == 0) return 1;
  return enter_in_context("cuGraphExecDestroy");
}
int cuGraphDestroy(void* graph) {
  LOCKED;
  if (graphs.erase(graph) == 0) return 1;
  return enter_in_context("cuGraphDestroy");
}
}
