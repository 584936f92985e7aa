// SPDX-License-Identifier: Apache-2.0
// From relative depth along the ray to the head to relative depth along the optical axis. As in
// facedepth_edge/ray_depth.py, where the reason stands.
#pragma once

#include <cstdint>

namespace facedepth {

// What the step needs to know of a face.
//   ray_x, ray_y   x / z and y / z of the head centre in the camera's frame
//   distance_mm    the z of the visible surface there, D
//   half_range_mm  the model's
//   reach_*_mm     what the box covers at D
struct RayScale {
  double ray_x;
  double ray_y;
  double distance_mm;
  double half_range_mm;
  double reach_x_mm;
  double reach_y_mm;
};

// Writes (Z - D) / half_range_mm for the network's z, both planes of height rows of width elements, dense; they may be
// the same. With a pixel at (x, y) mm from the box's centre at D, s = ray_x x + ray_y y and n = |(ray_x, ray_y, 1)|:
// Z = (n D + z half_range) n / (n^2 + s / D). The divisor is kept from falling below 0.1 n.
void depth_along_axis(const float* depth, std::int32_t width, std::int32_t height, const RayScale& scale,
                      float* relative) noexcept;

}  // namespace facedepth
