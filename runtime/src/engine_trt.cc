// SPDX-License-Identifier: Apache-2.0
// The engine by TensorRT 10.3 to 11: the only file that includes its headers. Everything here is in all of these
// releases, so nothing asks which one it is compiled against.
//
// A frame's way: the crop is staged (device_crop.h), crop and network run, all answers come down in one copy, and the
// host waits once. After the warm-up crop and network are replayed as one CUDA graph; what varies with the frame, the
// upload of its part, stays outside. The graph is recorded again where the crop had to make more room.

#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cuda_owners.h"
#include "device_crop.h"
#include "facedepth/engine.h"
#include "facedepth/error.h"
#include "plan_file.h"

namespace facedepth {
namespace {

using cuda::check_cuda;

constexpr int kWarmUpRuns = 3;           // TensorRT does some work in its first runs only, and that cannot be recorded
// Somebody else in the process may disturb a recording, as a wait for the whole device does: it is tried so often, with
// so many runs between.
constexpr int kMostRecordings = 3;
constexpr int kRunsBetweenRecordings = 30;
constexpr std::size_t kAlignment = 256;  // of an output's first byte, as TensorRT asks

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

void check_tensorrt(bool success, const char* call) {
  if (success) return;
  throw Error(ErrorKind::unavailable, call, logger().told(), "success",
              "Build the engine again with facedepth-edge build-engine.");
}

std::string tensorrt_version() {
  const std::int32_t version = getInferLibVersion();
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

void check_this_device(const PlanMetadata& metadata, const std::string& plan_path) {
  const int device = cuda::current_device();
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  check_device(metadata, plan_path, tensorrt_version(), properties.name,
               std::to_string(properties.major) + "." + std::to_string(properties.minor),
               properties.multiProcessorCount);
}

// A tensor's elements, each side of its shape.
using Shape = std::vector<std::int64_t>;

std::size_t bytes_of(const Shape& shape) {
  std::size_t bytes = sizeof(float);
  for (const std::int64_t side : shape) bytes *= static_cast<std::size_t>(side);
  return bytes;
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
    stream_ = cuda::make_stream();
    bind(spec);
    warm_up();
  }

  ~TensorRtEngine() override {  // on its own GPU; nothing may be thrown here
    int before = device_;
    static_cast<void>(cudaGetDevice(&before));
    if (before != device_) static_cast<void>(cudaSetDevice(device_));
    if (stream_ != nullptr) static_cast<void>(cudaStreamSynchronize(stream_.get()));
    replay_.reset();
    crop_.reset();
    answers_.reset();
    block_.reset();
    input_.reset();
    stream_.reset();
    context_.reset();
    engine_.reset();
    runtime_.reset();
    if (before != device_) static_cast<void>(cudaSetDevice(before));
  }

  NetworkOutput run(const FrameView& frame, const Box& box) override {
    const cuda::OnDevice here(device_);
    try {
      if (crop_->stage(frame, box, stream_.get())) replay_.reset();  // recorded again at once
      replay_or_enqueue();
      check_cuda(cudaMemcpyAsync(answers_.get(), block_.get(), block_bytes_, cudaMemcpyDeviceToHost, stream_.get()),
                 "cudaMemcpyAsync");
      check_cuda(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
    } catch (...) {
      static_cast<void>(cudaStreamSynchronize(stream_.get()));  // the next frame is staged over what this one reads
      static_cast<void>(cudaGetLastError());                    // or TensorRT takes it for its own
      throw;
    }
    return {answer_at(depth_), answer_at(mask_), answer_at(validity_), crop_->describe(answers_.get() + statistics_)};
  }

  const char* why_no_graph() const noexcept override { return why_no_graph_.c_str(); }

 private:
  static constexpr std::size_t kNone = ~std::size_t{0};

  // Holds the engine's tensors against the spec, and gives the input and the block of all outputs their memory.
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
    const Shape map{1, 1, spec.output_height, spec.output_width};
    depth_ = place(output_bytes(spec.depth_name, {map}));
    if (!spec.mask_name.empty()) mask_ = place(output_bytes(spec.mask_name, {map}));
    if (!spec.validity_name.empty()) validity_ = place(output_bytes(spec.validity_name, {{1}, {1, 1}}));
    statistics_ = place(cuda::crop_statistics_bytes(spec));

    input_ = cuda::allocate_device(tensor_bytes(spec.input_name, {face}));
    block_ = cuda::allocate_device(block_bytes_);
    answers_ = cuda::allocate_host(block_bytes_, cudaHostAllocDefault);
    set_address(spec.input_name, input_.get());
    set_address(spec.depth_name, block_.get() + depth_);
    if (mask_ != kNone) set_address(spec.mask_name, block_.get() + mask_);
    if (validity_ != kNone) set_address(spec.validity_name, block_.get() + validity_);
    crop_ = cuda::make_device_crop(spec, input_.get(), block_.get() + statistics_);
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

  std::size_t tensor_bytes(const std::string& name, const std::vector<Shape>& allowed) const {
    const nvinfer1::Dims dims = context_->getTensorShape(name.c_str());
    const Shape shape(dims.d, dims.d + std::max(dims.nbDims, 0));
    require(std::find(allowed.begin(), allowed.end(), shape) != allowed.end(), "another shape of " + name,
            "the shapes of spec.json");
    return bytes_of(shape);
  }

  std::size_t output_bytes(const std::string& name, const std::vector<Shape>& allowed) const {
    check_tensor(name, nvinfer1::TensorIOMode::kOUTPUT);
    return tensor_bytes(name, allowed);
  }

  // Returns where the next part of the block begins, and lets the block grow by it.
  std::size_t place(std::size_t bytes) noexcept {
    const std::size_t at = (block_bytes_ + kAlignment - 1) / kAlignment * kAlignment;
    block_bytes_ = at + bytes;
    return at;
  }

  void set_address(const std::string& name, void* address) {
    check_tensorrt(context_->setTensorAddress(name.c_str(), address), "setTensorAddress");
  }

  const float* answer_at(std::size_t offset) const noexcept {
    return offset == kNone ? nullptr : reinterpret_cast<const float*>(answers_.get() + offset);
  }

  void enqueue() {
    crop_->enqueue(stream_.get());
    check_tensorrt(context_->enqueueV3(stream_.get()), "enqueueV3");
  }

  // Runs crop and network: as a graph once it could be recorded. A network with a layer that cannot be recorded is
  // enqueued anew for each face: slower, not wrong.
  void replay_or_enqueue() {
    if (replay_ == nullptr && recordings_left_ > 0 && runs_to_recording_ == 0) record();
    if (replay_ != nullptr) {
      check_cuda(cudaGraphLaunch(replay_.get(), stream_.get()), "cudaGraphLaunch");
      return;
    }
    enqueue();
    runs_to_recording_ = std::max(runs_to_recording_ - 1, 0);
  }

  // Records crop and network; where that fails it is tried again some runs later.
  void record() {
    try {
      replay_ = recorded();
      recordings_left_ = kMostRecordings;
      why_no_graph_.clear();
    } catch (const std::exception& error) {
      --recordings_left_;
      runs_to_recording_ = kRunsBetweenRecordings;
      why_no_graph_ = error.what();
    }
    static_cast<void>(cudaGetLastError());  // a refused recording leaves its error behind
  }

  cuda::GraphExec recorded() {
    check_cuda(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    cudaGraph_t graph = nullptr;
    try {
      enqueue();
    } catch (...) {  // whatever it is, the stream must not stay in its recording
      static_cast<void>(cudaStreamEndCapture(stream_.get(), &graph));
      const cuda::Graph owned(graph);
      throw;
    }
    const cudaError_t ended = cudaStreamEndCapture(stream_.get(), &graph);
    const cuda::Graph owned(graph);
    check_cuda(ended, "cudaStreamEndCapture");
    cudaGraphExec_t replay = nullptr;
    check_cuda(cudaGraphInstantiateWithFlags(&replay, graph, 0), "cudaGraphInstantiateWithFlags");
    return cuda::GraphExec(replay);
  }

  // Runs a gray frame of one pixel until crop and network are recorded, so that the first real frame is a fast one.
  void warm_up() {
    const unsigned char gray = 127;
    for (int run_index = 0; run_index <= kWarmUpRuns; ++run_index) {
      run({&gray, 1, 1, 1, PixelType::uint8, 1, 255.0}, {0.0, 0.0, 1.0, 1.0});
    }
  }

  std::string plan_path_;
  int device_ = cuda::current_device();  // of the thread that opens the engine; any thread may run it
  // Destroyed from the last to the first: the runtime outlives the engine, the engine its context.
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
  cuda::Stream stream_;
  cuda::DeviceMemory input_;
  cuda::DeviceMemory block_;  // all outputs and the crop's statistics, each at its offset
  cuda::HostMemory answers_;  // the block, downloaded
  std::size_t block_bytes_ = 0;
  std::size_t depth_ = kNone;
  std::size_t mask_ = kNone;
  std::size_t validity_ = kNone;
  std::size_t statistics_ = kNone;
  std::unique_ptr<cuda::DeviceCrop> crop_;
  int runs_to_recording_ = kWarmUpRuns;
  int recordings_left_ = kMostRecordings;
  std::string why_no_graph_;
  cuda::GraphExec replay_;
};

}  // namespace

std::unique_ptr<Engine> open_tensorrt_engine(const ModelSpec& spec, const std::string& plan_path) {
  const PlanFile plan = read_plan(spec, plan_path);
  return std::make_unique<TensorRtEngine>(spec, plan, plan_path);
}

}  // namespace facedepth
