// SPDX-License-Identifier: Apache-2.0
// Views of host memory that belongs to the caller: a camera frame to read, a tensor to write.
#pragma once

#include <cstddef>
#include <cstdint>

namespace facedepth {

enum class PixelType : std::int32_t { uint8 = 0, uint16 = 1 };

enum class ElementType : std::int32_t { float32 = 0, float16 = 1, int8 = 2 };

// A frame (height, width, channels), host memory, channels interleaved, no alignment asked for.
//   data              first byte of row 0
//   width, height     1 .. 32768 pixels
//   channels          3 (B, G, R) or 1 (gray, Y8, the Y plane of NV12)
//   pixel_type        uint8, or uint16 in the machine's byte order
//   row_stride_bytes  from one row to the next: rows may be padded, or go upwards (negative)
//   max_value         the pixel value that stands for white: gray level = value * 255 / max_value;
//                     255 for uint8, what the camera says for uint16 (4095 for 12 bits); 1e-6 up to these
struct FrameView {
  const void* data = nullptr;
  std::int32_t width = 0;
  std::int32_t height = 0;
  std::int32_t channels = 0;
  PixelType pixel_type = PixelType::uint8;
  std::ptrdiff_t row_stride_bytes = 0;
  double max_value = 255.0;
};

// A plane (height, width) of a tensor, host memory, elements of a row side by side, no alignment asked for.
//   data              first byte of row 0
//   width, height     1 .. 4096 elements
//   element_type      float32, float16 (IEEE 754 binary16) or int8
//   row_stride_bytes  from one row to the next, at least one row
struct TensorView {
  void* data = nullptr;
  std::int32_t width = 0;
  std::int32_t height = 0;
  ElementType element_type = ElementType::float32;
  std::ptrdiff_t row_stride_bytes = 0;
};

}  // namespace facedepth
