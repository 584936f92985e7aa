// SPDX-License-Identifier: Apache-2.0
// What takes the face under a box of a frame through the network. Where the box is, and what the numbers behind the
// network mean, is pipeline.h's.
#pragma once

#include <memory>
#include <string>

#include "facedepth/face_crop.h"
#include "facedepth/spec.h"
#include "facedepth/tensor_view.h"

namespace facedepth {

// The raw outputs for one face, host memory of the engine, good until its next run; and what its crop was like.
struct NetworkOutput {
  const float* depth = nullptr;             // (output_height, output_width), dense
  const float* mask_probability = nullptr;  // the same shape; null where the model has none
  const float* validity = nullptr;          // one probability; null where the model has none
  CropStatistics crop{};                    // of the network's input
};

// One loaded network with its buffers. One object a thread.
class [[gnu::visibility("default")]] Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine();

  // Crops the box of the frame as face_crop.h defines it into the network's input (input_height, input_width) float32,
  // and computes the outputs; returns when they are complete. An engine on the host uses a FaceCropper; TensorRT's
  // crops on the GPU where it was built with a CUDA compiler, else with a FaceCropper too. Throws Error: input where the
  // frame or the box breaks a rule of face_crop.h, unavailable where a device or a library failed.
  virtual NetworkOutput run(const FrameView& frame, const Box& box) = 0;

  // Why a GPU does not replay crop and network as one CUDA graph; empty where it does, and on the host.
  virtual const char* why_no_graph() const noexcept { return ""; }
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
