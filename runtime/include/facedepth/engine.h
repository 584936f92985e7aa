// SPDX-License-Identifier: Apache-2.0
// What runs the network. The crop before it and the meaning of the numbers behind it are pipeline.h's.
#pragma once

#include <memory>
#include <string>

#include "facedepth/spec.h"

namespace facedepth {

// The raw outputs for one face: host memory of the engine, good until its next run.
struct NetworkOutput {
  const float* depth = nullptr;             // (output_height, output_width), dense
  const float* mask_probability = nullptr;  // the same shape; null where the model has none
  const float* validity = nullptr;          // one probability; null where the model has none
};

// One loaded network with its buffers. One object a thread.
class [[gnu::visibility("default")]] Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine();

  // The network's input: (input_height, input_width) float32, dense, host memory of the engine. Write it before run().
  virtual float* input() noexcept = 0;

  // Computes the outputs from the input; returns when they are complete. Throws Error of the kind unavailable.
  virtual NetworkOutput run() = 0;
};

// Loads a plan that `facedepth-edge build-engine` made for this model on this device.
//   spec         the model's
//   plan_path    the plan; its metadata lies beside it and ends in .json instead of .plan
// The plan's size and SHA-256 are checked against its metadata, the metadata against the spec's files, the TensorRT
// version and the GPU, and the engine's tensors against the spec. Throws Error: artifact where the files are missing
// or do not fit this model or device; unavailable where this library was built without TensorRT, or TensorRT or CUDA
// cannot run here.
[[gnu::visibility("default")]] std::unique_ptr<Engine> open_tensorrt_engine(const ModelSpec& spec,
                                                                            const std::string& plan_path);

}  // namespace facedepth
