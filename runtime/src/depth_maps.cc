// SPDX-License-Identifier: Apache-2.0
// Checks the arguments of the depth maps, in this one place, and hands them to the device's code.

#include "facedepth/depth_maps.h"

#include <cmath>
#include <cstdio>
#include <string>

#include "depth_maps_cpu.h"
#include "facedepth/error.h"

namespace facedepth {
namespace {

constexpr std::size_t kMaxCount = std::size_t{4096} * 4096;

void require_plane(const void* plane, const char* where) {
  if (plane != nullptr) return;
  throw Error(ErrorKind::config, where, "null", "the address of the first element", "Give memory for the whole plane.");
}

void require_number(bool right, const char* where, double value, const char* expected) {
  if (right) return;
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", value);
  throw Error(ErrorKind::config, where, text, expected, "Take the value from the model's spec.json.");
}

}  // namespace

DepthSummary write_depth_maps(const NetworkMaps& network, const DepthScale& scale, const DepthMaps& out) {
  require_plane(network.depth, "network.depth");
  require_plane(out.depth_mm, "out.depth_mm");
  require_plane(out.relative, "out.relative");
  require_plane(out.mask, "out.mask");
  if (network.count < 1 || network.count > kMaxCount) {
    throw Error(ErrorKind::config, "network.count", std::to_string(network.count), "1 to 16777216 elements",
                "Take the size of the model's output.");
  }
  if (!std::isfinite(scale.distance_mm)) {
    throw Error(ErrorKind::input, "scale.distance_mm", std::isnan(scale.distance_mm) ? "nan" : "inf",
                "a finite number of millimetres", "Check the distance.");
  }
  require_number(std::isfinite(scale.half_range_mm) && scale.half_range_mm > 0.0, "scale.half_range_mm",
                 scale.half_range_mm, "a finite number above 0");
  require_number(std::isfinite(scale.mask_threshold), "scale.mask_threshold", scale.mask_threshold, "a finite number");
  return cpu::write_depth_maps(network, scale, out);
}

}  // namespace facedepth
