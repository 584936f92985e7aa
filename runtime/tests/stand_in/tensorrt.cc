// SPDX-License-Identifier: Apache-2.0
// A stand-in for TensorRT: a network of the spec's tensors that answers with its input as depth, 0.9 on the mask, and
// the mean of its input, moved to 0.75, as validity.
#include <NvInferRuntime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>

#include "gpu.h"

namespace facedepth::test {
namespace {

using nvinfer1::Dims;

constexpr std::size_t kCount = std::size_t{kMapHeight} * kMapWidth;

Dims shape_of(const std::string& name) {
  if (name == "validity") return {2, {1, 1}};
  return {4, {1, 1, kMapHeight, kMapWidth}};
}

class Context final : public nvinfer1::IExecutionContext {
 public:
  bool setInputShape(const char* name, const Dims& dims) noexcept override {
    const Dims wanted = shape_of(name);
    return dims.nbDims == wanted.nbDims && std::memcmp(dims.d, wanted.d, 4 * sizeof(dims.d[0])) == 0;
  }
  Dims getTensorShape(const char* name) const noexcept override { return shape_of(name); }
  bool setTensorAddress(const char* name, void* address) noexcept override {
    addresses_[name] = address;
    return reinterpret_cast<std::uintptr_t>(address) % 256 == 0;
  }
  bool enqueueV3(cudaStream_t stream) noexcept override {
    if (fails("enqueueV3") || (is_recording(stream) && !gpu().can_record)) return false;
    ++gpu().counts.networks;
    enqueue(stream, [at = addresses_] {
      const auto* face = static_cast<const float*>(host_of(at.at("face"), kCount * sizeof(float)));
      auto* depth = static_cast<float*>(host_of(at.at("depth"), kCount * sizeof(float)));
      auto* mask = static_cast<float*>(host_of(at.at("mask"), kCount * sizeof(float)));
      float sum = 0.0F;
      for (std::size_t i = 0; i < kCount; ++i) {
        depth[i] = face[i];
        mask[i] = 0.9F;
        sum += face[i];
      }
      *static_cast<float*>(host_of(at.at("validity"), sizeof(float))) = 0.75F + 0.25F * sum / kCount;
    });
    return true;
  }

 private:
  std::map<std::string, void*> addresses_;
};

class NetworkEngine final : public nvinfer1::ICudaEngine {
 public:
  nvinfer1::IExecutionContext* createExecutionContext() noexcept override { return new Context; }
  std::int32_t getNbIOTensors() const noexcept override { return 4; }
  nvinfer1::TensorIOMode getTensorIOMode(const char* name) const noexcept override {
    return std::string(name) == "face" ? nvinfer1::TensorIOMode::kINPUT : nvinfer1::TensorIOMode::kOUTPUT;
  }
  nvinfer1::DataType getTensorDataType(const char*) const noexcept override { return nvinfer1::DataType::kFLOAT; }
  nvinfer1::TensorLocation getTensorLocation(const char*) const noexcept override {
    return nvinfer1::TensorLocation::kDEVICE;
  }
};

class NetworkRuntime final : public nvinfer1::IRuntime {
 public:
  nvinfer1::ICudaEngine* deserializeCudaEngine(const void*, std::size_t) noexcept override { return new NetworkEngine; }
};

}  // namespace
}  // namespace facedepth::test

nvinfer1::IRuntime* nvinfer1::createInferRuntime(ILogger&) noexcept { return new facedepth::test::NetworkRuntime; }

std::int32_t getInferLibVersion() noexcept { return 100300; }
