// SPDX-License-Identifier: Apache-2.0
// The face crop in float64, one output cell and one pixel at a time: what the fast one is held against.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "facedepth/face_crop.h"

namespace facedepth::test {

// Returns the gray level, 0..255 for pixels up to max_value, of the pixel nearest to (x, y) inside the frame.
inline double gray_at(const FrameView& frame, std::int64_t x, std::int64_t y) {
  x = std::clamp<std::int64_t>(x, 0, frame.width - 1);
  y = std::clamp<std::int64_t>(y, 0, frame.height - 1);
  const bool wide = frame.pixel_type == PixelType::uint16;
  const auto* pixel =
      static_cast<const unsigned char*>(frame.data) + y * frame.row_stride_bytes + x * frame.channels * (wide ? 2 : 1);
  const double weights[3] = {0.114, 0.587, 0.299};
  double gray = 0.0;
  for (std::int32_t c = 0; c < frame.channels; ++c) {
    double value = pixel[c];
    if (wide) {
      std::uint16_t word = 0;
      std::memcpy(&word, pixel + 2 * c, sizeof(word));
      value = word;
    }
    gray += value * (frame.channels == 3 ? weights[c] : 1.0);
  }
  return gray * 255.0 / frame.max_value;
}

// Returns the pixels (they may lie outside the frame) and their weights of cell j of n over [begin, end).
inline std::vector<std::pair<std::int64_t, double>> pixels_of_cell(double begin, double end, int n, int j) {
  std::vector<std::pair<std::int64_t, double>> pixels;
  const double step = (end - begin) / n;
  if (end - begin > n) {
    const double left = begin + j * step;
    const double right = begin + (j + 1) * step;
    for (auto i = static_cast<std::int64_t>(std::floor(left)); static_cast<double>(i) < right; ++i) {
      const auto at = static_cast<double>(i);
      pixels.emplace_back(i, (std::min(at + 1.0, right) - std::max(at, left)) / step);
    }
  } else {
    const double position = begin + (j + 0.5) * step - 0.5;
    const auto left = static_cast<std::int64_t>(std::floor(position));
    const double share = position - std::floor(position);
    pixels = {{left, 1.0 - share}, {left + 1, share}};
  }
  return pixels;
}

// Returns height * width gray levels, row by row.
inline std::vector<double> reference_crop(const FrameView& frame, const Box& box, int height, int width) {
  std::vector<double> levels;
  for (int row = 0; row < height; ++row) {
    const auto down = pixels_of_cell(box.y0, box.y1, height, row);
    for (int column = 0; column < width; ++column) {
      double level = 0.0;
      for (const auto& [x, across_weight] : pixels_of_cell(box.x0, box.x1, width, column)) {
        for (const auto& [y, down_weight] : down) level += across_weight * down_weight * gray_at(frame, x, y);
      }
      levels.push_back(level);
    }
  }
  return levels;
}

}  // namespace facedepth::test
