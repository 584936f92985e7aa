// SPDX-License-Identifier: Apache-2.0
// The CUDA form of the face crop, without checks: what C++ knows of the kernel in runtime/cuda/face_crop.cu, and the
// work of the host before and after it. The kernel's file is compiled alone by Python, so it includes nothing of this.
#pragma once

#include <cstddef>
#include <cstdint>

#include "facedepth/face_crop.h"

namespace facedepth::cuda {

// CropHeader of the kernel's file, field for field; what they mean is said there.
struct CropHeader {
  std::uint64_t pixels;
  std::int32_t width;
  std::int32_t height;
  std::int32_t channels;
  std::int32_t bytes_a_value;
  std::int64_t row_bytes;
  double level;
  double scale;
  double offset;
  double box[8][4];
};

// Returns whether the kernel's struct has the layout of ours.
template <typename Theirs>
constexpr bool is_crop_header() {
  return sizeof(Theirs) == sizeof(CropHeader) && sizeof(Theirs::box) == sizeof(CropHeader::box) &&
         offsetof(Theirs, pixels) == offsetof(CropHeader, pixels) &&
         offsetof(Theirs, width) == offsetof(CropHeader, width) &&
         offsetof(Theirs, height) == offsetof(CropHeader, height) &&
         offsetof(Theirs, channels) == offsetof(CropHeader, channels) &&
         offsetof(Theirs, bytes_a_value) == offsetof(CropHeader, bytes_a_value) &&
         offsetof(Theirs, row_bytes) == offsetof(CropHeader, row_bytes) &&
         offsetof(Theirs, level) == offsetof(CropHeader, level) &&
         offsetof(Theirs, scale) == offsetof(CropHeader, scale) &&
         offsetof(Theirs, offset) == offsetof(CropHeader, offset) && offsetof(Theirs, box) == offsetof(CropHeader, box);
}

inline constexpr int kMaxThreads = 256;               // of the kernel's block
inline constexpr std::size_t kRowStatistics = 4;      // mean, sum of squared differences from it, smallest, largest
inline constexpr std::size_t kHeaderRoomBytes = 512;  // before the pixels, so that these begin aligned

// Returns the kernel fde_face_crop for cudaLaunchKernel; its arguments and its grid are in its file.
const void* face_crop_kernel() noexcept;

// The pixels of a frame that the crop of a box may read: not empty, inside the frame.
struct FramePart {
  std::int32_t left;
  std::int32_t top;
  std::int32_t width;
  std::int32_t height;
  std::size_t row_bytes;  // of the part, dense
};

FramePart part_under(const FrameView& frame, const Box& box) noexcept;

// Returns the bytes of the header's room and the part's pixels.
inline std::size_t staged_bytes(const FramePart& part) noexcept {
  return kHeaderRoomBytes + part.row_bytes * static_cast<std::size_t>(part.height);
}

// Writes the header of one face and, behind its room, the pixels of the part.
//   address  where the GPU will read memory's first byte
//   memory   staged_bytes(part), 8-byte aligned, host memory
void write_staged(const FrameView& frame, const Box& box, const Normalisation& normalisation, const FramePart& part,
                  std::uint64_t address, unsigned char* memory) noexcept;

// Returns what a crop of height rows of width elements was like.
//   rows  (height, kRowStatistics) float32, dense, host memory: what the kernel wrote
CropStatistics statistics_of_rows(const float* rows, int height, int width) noexcept;

}  // namespace facedepth::cuda
