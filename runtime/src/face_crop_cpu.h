// SPDX-License-Identifier: Apache-2.0
// The CPU form of the face crop, without checks: face_crop.cc has made them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "facedepth/face_crop.h"

namespace facedepth::cpu {

// The sums that CropStatistics is made of.
struct Moments {
  double sum = 0.0;      // of value - center
  double squares = 0.0;  // of (value - center)^2
  float smallest = std::numeric_limits<float>::infinity();
  float largest = -std::numeric_limits<float>::infinity();
};

// The four inner loops, compiled for one instruction set.
struct CropKernels {
  const char* name;
  std::int32_t lanes;  // floats in a vector of sum_taps, up to kMaxLanes

  // sums[k] = first_weight * row 0 [k] + rows between [k] + last_weight * row (count - 1) [k], for 0 <= k < length,
  // rows being row_stride_bytes apart; a single row (count 1) counts with first_weight alone.
  using BlendRows = void (*)(const unsigned char* first, std::ptrdiff_t row_stride_bytes, std::int32_t count,
                             float first_weight, float last_weight, std::int32_t length, float* sums);
  BlendRows blend_rows_uint8;
  BlendRows blend_rows_uint16;

  // For kRowsAtOnce rows of sums, sums_stride floats apart: out[row * cells + i] = offset + the weighted sum of the
  // taps of cell i, which are taps[i] floats from starts[i] on. The weights lie in order of the cells. taps[i] is a
  // multiple of lanes, filled up with zero weights. quarters: 4 * kRowsAtOnce * cells floats of scratch.
  void (*sum_taps)(const float* sums, std::ptrdiff_t sums_stride, const std::int32_t* starts, const std::int32_t* taps,
                   const float* weights, float offset, std::int32_t cells, float* quarters, float* out);

  // Adds count values to the moments; center is a number near them, so that the squares stay small.
  void (*add_moments)(const float* values, std::int32_t count, double center, Moments& moments);
};

inline constexpr std::int32_t kMaxLanes = 8;
inline constexpr std::int32_t kRowsAtOnce = 4;  // they share the loads of the weights

// Returns how many kernels this processor can run, and the kernel at index, slowest first; the last one is the
// one to use.
std::size_t count_crop_kernels() noexcept;
const CropKernels& crop_kernels_at(std::size_t index) noexcept;

// Returns the bytes that crop_face needs to hold its tables and kRowsAtOnce rows of sums.
std::size_t crop_face_workspace_bytes(std::int32_t frame_width, std::int32_t channels, std::int32_t out_width) noexcept;

// Does what facedepth::crop_face promises for arguments that keep its rules.
CropStatistics crop_face(const FrameView& frame, const Box& box, const Normalisation& normalisation,
                         const TensorView& out, void* workspace, const CropKernels& kernels) noexcept;

}  // namespace facedepth::cpu
