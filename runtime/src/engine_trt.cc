// SPDX-License-Identifier: Apache-2.0
// The engine by TensorRT 10.3 to 11: the only file that includes its headers. Everything here is in all of these
// releases, so nothing asks which one it is compiled against.
//
// Upload, network and download have fixed sizes; after the warm-up they are replayed as one CUDA graph. The crop is the
// CPU's, into pinned memory: 36 KB go up instead of the frame's rows.

#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "facedepth/engine.h"
#include "facedepth/error.h"
#include "plan_file.h"

namespace facedepth {
namespace {

constexpr int kWarmUpRuns = 3;

// Keeps the errors of a call for its exception. TensorRT keeps the first logger that it is given for good, so there is
// one, and it is never let go.
class Logger final : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const nvinfer1::AsciiChar* text) noexcept override {
    if (severity > Severity::kERROR) return;
    const std::lock_guard<std::mutex> held(mutex_);
    std::strncpy(last_.data(), text, last_.size() - 1);
  }

  // Returns the last error and forgets it.
  std::string told() {
    const std::lock_guard<std::mutex> held(mutex_);
    std::string text = last_[0] == '\0' ? "no reason told" : last_.data();
    last_[0] = '\0';
    return text;
  }

 private:
  std::mutex mutex_;
  std::array<char, 512> last_{};
};

Logger& logger() {
  static auto* const kept = new Logger;
  return *kept;
}

void check_cuda(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  throw Error(ErrorKind::unavailable, call, cudaGetErrorString(status), "success",
              "Check the GPU with nvidia-smi or tegrastats, and that the driver fits the CUDA runtime.");
}

void check_tensorrt(bool success, const char* call) {
  if (success) return;
  throw Error(ErrorKind::unavailable, call, logger().told(), "success",
              "Build the engine again with facedepth-edge build-engine.");
}

struct HostFree {
  void operator()(float* memory) const noexcept { static_cast<void>(cudaFreeHost(memory)); }
};
struct DeviceFree {
  void operator()(float* memory) const noexcept { static_cast<void>(cudaFree(memory)); }
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
using Stream = std::unique_ptr<CUstream_st, StreamDestroy>;
using Graph = std::unique_ptr<CUgraph_st, GraphDestroy>;
using GraphExec = std::unique_ptr<CUgraphExec_st, GraphExecDestroy>;

// A tensor of the engine: pinned memory for the host, and memory of the device.
struct Buffer {
  explicit Buffer(std::size_t elements) : bytes(elements * sizeof(float)) {
    void* memory = nullptr;
    check_cuda(cudaHostAlloc(&memory, bytes, cudaHostAllocDefault), "cudaHostAlloc");
    host.reset(static_cast<float*>(memory));
    std::memset(memory, 0, bytes);
    check_cuda(cudaMalloc(&memory, bytes), "cudaMalloc");
    device.reset(static_cast<float*>(memory));
  }

  std::size_t bytes;
  std::unique_ptr<float, HostFree> host;
  std::unique_ptr<float, DeviceFree> device;
};

std::string tensorrt_version() {
  const std::int32_t version = getInferLibVersion();
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

void check_this_device(const PlanMetadata& metadata, const std::string& plan_path) {
  int device = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  check_device(metadata, plan_path, tensorrt_version(), properties.name,
               std::to_string(properties.major) + "." + std::to_string(properties.minor));
}

class TensorRtEngine final : public Engine {
 public:
  TensorRtEngine(const ModelSpec& spec, const PlanFile& plan, const std::string& plan_path) : plan_path_(plan_path) {
    check_this_device(plan.metadata, plan_path);
    runtime_.reset(nvinfer1::createInferRuntime(logger()));
    check_tensorrt(runtime_ != nullptr, "createInferRuntime");
    engine_.reset(runtime_->deserializeCudaEngine(plan.content.data(), plan.content.size()));
    check_tensorrt(engine_ != nullptr, "deserializeCudaEngine");
    context_.reset(engine_->createExecutionContext());
    check_tensorrt(context_ != nullptr, "createExecutionContext");
    cudaStream_t stream = nullptr;
    check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    stream_.reset(stream);
    bind(spec);
    for (int run = 0; run < kWarmUpRuns; ++run) run_once();
    capture();
  }

  ~TensorRtEngine() override {
    if (stream_ != nullptr) static_cast<void>(cudaStreamSynchronize(stream_.get()));
  }

  float* input() noexcept override { return input_->host.get(); }

  NetworkOutput run() override {
    if (replay_ != nullptr) {
      check_cuda(cudaGraphLaunch(replay_.get(), stream_.get()), "cudaGraphLaunch");
      check_cuda(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
    } else {
      run_once();
    }
    return {depth_->host.get(), mask_ == nullptr ? nullptr : mask_->host.get(),
            validity_ == nullptr ? nullptr : validity_->host.get()};
  }

 private:
  using Shape = std::vector<std::int64_t>;

  // Holds the engine's tensors against the spec, and gives each its memory.
  void bind(const ModelSpec& spec) {
    const int tensors = 2 + (spec.mask_name.empty() ? 0 : 1) + (spec.validity_name.empty() ? 0 : 1);
    require(engine_->getNbIOTensors() == tensors, std::to_string(engine_->getNbIOTensors()) + " inputs and outputs",
            std::to_string(tensors) + " as in spec.json");
    const Shape face{1, 1, spec.input_height, spec.input_width};
    check_tensor(spec.input_name, nvinfer1::TensorIOMode::kINPUT);
    nvinfer1::Dims dims{};
    dims.nbDims = static_cast<std::int32_t>(face.size());
    std::copy(face.begin(), face.end(), dims.d);
    check_tensorrt(context_->setInputShape(spec.input_name.c_str(), dims), "setInputShape");
    input_ = bind_tensor(spec.input_name, {face});
    const Shape map{1, 1, spec.output_height, spec.output_width};
    depth_ = bind_output(spec.depth_name, {map});
    if (!spec.mask_name.empty()) mask_ = bind_output(spec.mask_name, {map});
    if (!spec.validity_name.empty()) validity_ = bind_output(spec.validity_name, {{1}, {1, 1}});
  }

  void require(bool right, const std::string& got, const std::string& expected) const {
    if (right) return;
    throw Error(ErrorKind::artifact, plan_path_, got, expected,
                "Build it again from this model with facedepth-edge build-engine.");
  }

  void check_tensor(const std::string& name, nvinfer1::TensorIOMode mode) const {
    require(engine_->getTensorIOMode(name.c_str()) == mode, "no tensor " + name, "the tensors of spec.json");
    require(engine_->getTensorDataType(name.c_str()) == nvinfer1::DataType::kFLOAT, name + " of another type",
            "float32 inputs and outputs");
    require(engine_->getTensorLocation(name.c_str()) == nvinfer1::TensorLocation::kDEVICE, name + " on the host",
            "inputs and outputs on the device");
  }

  std::unique_ptr<Buffer> bind_output(const std::string& name, const std::vector<Shape>& allowed) {
    check_tensor(name, nvinfer1::TensorIOMode::kOUTPUT);
    return bind_tensor(name, allowed);
  }

  std::unique_ptr<Buffer> bind_tensor(const std::string& name, const std::vector<Shape>& allowed) {
    const nvinfer1::Dims dims = context_->getTensorShape(name.c_str());
    const Shape shape(dims.d, dims.d + std::max(dims.nbDims, 0));
    require(std::find(allowed.begin(), allowed.end(), shape) != allowed.end(), "another shape of " + name,
            "the shapes of spec.json");
    std::size_t elements = 1;
    for (const std::int64_t side : shape) elements *= static_cast<std::size_t>(side);
    auto buffer = std::make_unique<Buffer>(elements);
    check_tensorrt(context_->setTensorAddress(name.c_str(), buffer->device.get()), "setTensorAddress");
    return buffer;
  }

  void download(const std::unique_ptr<Buffer>& buffer) {
    if (buffer == nullptr) return;
    check_cuda(
        cudaMemcpyAsync(buffer->host.get(), buffer->device.get(), buffer->bytes, cudaMemcpyDeviceToHost, stream_.get()),
        "cudaMemcpyAsync");
  }

  void enqueue() {
    check_cuda(
        cudaMemcpyAsync(input_->device.get(), input_->host.get(), input_->bytes, cudaMemcpyHostToDevice, stream_.get()),
        "cudaMemcpyAsync");
    check_tensorrt(context_->enqueueV3(stream_.get()), "enqueueV3");
    download(depth_);
    download(mask_);
    download(validity_);
  }

  void run_once() {
    enqueue();
    check_cuda(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
  }

  // Records one run. A network with a layer that cannot be recorded is enqueued anew for each face: slower, not wrong.
  void capture() {
    check_cuda(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    bool recorded = true;
    try {
      enqueue();
    } catch (const Error&) {
      recorded = false;
    }
    cudaGraph_t graph = nullptr;
    recorded = cudaStreamEndCapture(stream_.get(), &graph) == cudaSuccess && recorded;
    const Graph owned(graph);
    cudaGraphExec_t replay = nullptr;
    if (recorded && cudaGraphInstantiate(&replay, graph, 0) == cudaSuccess) replay_.reset(replay);
    static_cast<void>(cudaGetLastError());  // a refused recording leaves its error behind
    run();
  }

  std::string plan_path_;
  // Destroyed from the last to the first: the runtime outlives the engine, the engine its context.
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
  Stream stream_;
  std::unique_ptr<Buffer> input_;
  std::unique_ptr<Buffer> depth_;
  std::unique_ptr<Buffer> mask_;
  std::unique_ptr<Buffer> validity_;
  GraphExec replay_;
};

}  // namespace

std::unique_ptr<Engine> open_tensorrt_engine(const ModelSpec& spec, const std::string& plan_path) {
  const PlanFile plan = read_plan(spec, plan_path);
  return std::make_unique<TensorRtEngine>(spec, plan, plan_path);
}

}  // namespace facedepth
