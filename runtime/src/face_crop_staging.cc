// SPDX-License-Identifier: Apache-2.0
// The host's work before and after the crop's kernel: which pixels go up, the header before them, the statistics.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "face_crop_cuda.h"

namespace facedepth::cuda {
namespace {

struct Pixels {
  std::int32_t first;
  std::int32_t count;
};

// Returns the pixels of one axis that a crop over [start, end) may read. Outside the frame its border is repeated, so
// at least the border's pixel is needed. One pixel more on each side is for the interpolation of a crop that grows.
Pixels needed(double start, double end, std::int32_t size) noexcept {
  const double top = size - 1;
  const double first = std::clamp(std::floor(start) - 1.0, 0.0, top);
  const double last = std::clamp(std::ceil(end), first, top);
  return {static_cast<std::int32_t>(first), static_cast<std::int32_t>(last - first) + 1};
}

std::int32_t bytes_a_value(const FrameView& frame) noexcept { return frame.pixel_type == PixelType::uint16 ? 2 : 1; }

}  // namespace

FramePart part_under(const FrameView& frame, const Box& box) noexcept {
  const Pixels across = needed(box.x0, box.x1, frame.width);
  const Pixels down = needed(box.y0, box.y1, frame.height);
  const std::int32_t row_bytes = across.count * frame.channels * bytes_a_value(frame);
  return {across.first, down.first, across.count, down.count, static_cast<std::size_t>(row_bytes)};
}

void write_staged(const FrameView& frame, const Box& box, const Normalisation& normalisation, const FramePart& part,
                  std::uint64_t address, unsigned char* memory) noexcept {
  CropHeader header{};
  header.pixels = address + kHeaderRoomBytes;
  header.width = part.width;
  header.height = part.height;
  header.channels = frame.channels;
  header.bytes_a_value = bytes_a_value(frame);
  header.row_bytes = static_cast<std::int64_t>(part.row_bytes);
  header.level = 255.0 / frame.max_value;
  header.scale = normalisation.scale;
  header.offset = normalisation.offset;
  const double edges[4] = {box.x0 - part.left, box.y0 - part.top, box.x1 - part.left, box.y1 - part.top};
  std::copy(edges, edges + 4, header.box[0]);
  std::memcpy(memory, &header, sizeof(header));

  const auto* row = static_cast<const unsigned char*>(frame.data) + part.top * frame.row_stride_bytes +
                    static_cast<std::ptrdiff_t>(part.left) * frame.channels * bytes_a_value(frame);
  unsigned char* to = memory + kHeaderRoomBytes;
  for (std::int32_t i = 0; i < part.height; ++i) {
    std::memcpy(to, row, part.row_bytes);
    to += part.row_bytes;
    if (i + 1 < part.height) row += frame.row_stride_bytes;
  }
}

CropStatistics statistics_of_rows(const float* rows, int height, int width) noexcept {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  CropStatistics found{0.0, 0.0, kInfinity, -kInfinity};
  const float* const end = rows + static_cast<std::size_t>(height) * kRowStatistics;
  for (const float* row = rows; row != end; row += kRowStatistics) found.mean += row[0];
  found.mean /= height;
  double squares = 0.0;  // within the rows, and between them
  for (const float* row = rows; row != end; row += kRowStatistics) {
    const double difference = row[0] - found.mean;
    squares += row[1] + difference * difference * width;
    found.smallest = std::min(found.smallest, static_cast<double>(row[2]));
    found.largest = std::max(found.largest, static_cast<double>(row[3]));
  }
  found.deviation = std::sqrt(squares / (static_cast<double>(height) * width));
  return found;
}

}  // namespace facedepth::cuda
