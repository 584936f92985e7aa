// SPDX-License-Identifier: Apache-2.0
// The step from the ray to the optical axis: one multiplication and one division a pixel.

#include "ray_depth.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace facedepth {
namespace {

// Times n. Only boxes of heads within 200 mm have pixels whose rays are all but across the head's.
constexpr double kLeastCosine = 0.1;

}  // namespace

void depth_along_axis(const float* depth, std::int32_t width, std::int32_t height, const RayScale& scale,
                      float* relative) noexcept {
  const double square = 1.0 + scale.ray_x * scale.ray_x + scale.ray_y * scale.ray_y;
  const double length = std::sqrt(square);
  const auto factor = static_cast<float>(length);
  const auto least = static_cast<float>(kLeastCosine * length);
  const auto per_range = static_cast<float>(1.0 / scale.half_range_mm);
  const auto per_distance = static_cast<float>(1.0 / scale.distance_mm);
  const auto constant = static_cast<float>(square);
  const auto step_mm = static_cast<float>(scale.ray_x * scale.reach_x_mm / width);
  for (std::int32_t row = 0; row < height; ++row) {
    const double down_mm = ((row + 0.5) / height - 0.5) * scale.reach_y_mm;
    const double across_mm = (0.5 / width - 0.5) * scale.reach_x_mm;
    const auto first_mm = static_cast<float>(scale.ray_y * down_mm + scale.ray_x * across_mm);
    const float* from = depth + static_cast<std::size_t>(row) * static_cast<std::size_t>(width);
    float* to = relative + static_cast<std::size_t>(row) * static_cast<std::size_t>(width);
    for (std::int32_t column = 0; column < width; ++column) {
      const float slope_mm = first_mm + static_cast<float>(column) * step_mm;
      const float divisor = std::max(slope_mm * per_distance + constant, least);
      to[column] = (from[column] * factor - slope_mm * per_range) / divisor;
    }
  }
}

}  // namespace facedepth
