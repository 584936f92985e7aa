// SPDX-License-Identifier: Apache-2.0
// How the face under a box gets into the network's input in the GPU's memory. Two forms, of which the build links one:
//   device_crop_cuda.cc  the part of the frame that the box needs goes up, a kernel crops: needs a CUDA compiler
//   device_crop_cpu.cc   the CPU crops, and the face goes up
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>

#include "facedepth/face_crop.h"
#include "facedepth/spec.h"

namespace facedepth::cuda {

// One object a stream. A face is staged, enqueued, waited for by the caller, and then described; in this order.
class DeviceCrop {
 public:
  DeviceCrop() = default;
  DeviceCrop(const DeviceCrop&) = delete;
  DeviceCrop& operator=(const DeviceCrop&) = delete;
  virtual ~DeviceCrop() = default;

  // Puts what the crop of the box needs where enqueue()'s work reads it; what varies with the box is enqueued here.
  // The work on the stream that reads what was staged before must be done. Allocates only where more is staged than
  // ever before. Returns whether it has done so since it last returned: enqueue()'s work has other addresses then, and
  // a recording of it must be made anew. Throws Error: input where the frame or the box breaks a rule of face_crop.h,
  // unavailable.
  virtual bool stage(const FrameView& frame, const Box& box, cudaStream_t stream) = 0;

  // Enqueues the work that writes the network's input, and its statistics if they are the GPU's; the same for each
  // face, so it can be recorded. Throws Error of the kind unavailable.
  virtual void enqueue(cudaStream_t stream) = 0;

  // Returns what the crop was like, from a host copy of the statistics' memory.
  virtual CropStatistics describe(const unsigned char* statistics) const = 0;
};

// Returns the bytes of GPU memory that a crop needs for its statistics; 0 where they do not come from the GPU.
std::size_t crop_statistics_bytes(const ModelSpec& spec);

// Makes the crop that was linked.
//   input       the network's: (input_height, input_width) float32, dense, GPU memory
//   statistics  crop_statistics_bytes(spec), 16-byte aligned, GPU memory; the caller downloads it with the outputs
// Both are the caller's and outlive the crop. Throws Error of the kind unavailable or config.
std::unique_ptr<DeviceCrop> make_device_crop(const ModelSpec& spec, void* input, void* statistics);

}  // namespace facedepth::cuda
