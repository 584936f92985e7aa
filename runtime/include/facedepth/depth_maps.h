// SPDX-License-Identifier: Apache-2.0
// From the network's raw maps to depth in millimetres and the head's mask, in one pass.
//
// Steps, all in float32, element by element
//   1 relative = min(max(z, -1), 1); NaN stays NaN
//   2 depth_mm = relative * half_range_mm + distance_mm, rounded after each of the two
//   3 mask = probability > mask_threshold, or relative < mask_threshold where there is no probability; NaN gives 0
#pragma once

#include <cstddef>
#include <cstdint>

namespace facedepth {

// What the network wrote: planes of count elements, host memory, dense.
struct NetworkMaps {
  const float* depth = nullptr;             // z, farther is larger
  const float* mask_probability = nullptr;  // null where the model has no mask
  std::size_t count = 0;                    // 1 .. 4096 * 4096
};

// The numbers of the steps: half_range_mm and mask_threshold travel with the weights (spec.json), distance_mm is the
// head's. All finite; half_range_mm above 0.
struct DepthScale {
  double distance_mm;
  double half_range_mm;
  double mask_threshold;
};

// What is written: planes of the same count, host memory, dense, belonging to the caller; none overlaps another.
struct DepthMaps {
  float* depth_mm = nullptr;
  float* relative = nullptr;
  std::uint8_t* mask = nullptr;  // 1 on the head, else 0
};

struct DepthSummary {
  bool finite;    // no NaN in relative
  bool has_head;  // the mask is not empty
};

// Writes the maps. Allocates nothing, keeps nothing. Throws Error when an argument breaks a rule above; nothing is
// written then.
[[gnu::visibility("default")]] DepthSummary write_depth_maps(const NetworkMaps& network, const DepthScale& scale,
                                                             const DepthMaps& out);

}  // namespace facedepth
