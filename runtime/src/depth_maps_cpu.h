// SPDX-License-Identifier: Apache-2.0
// The CPU form of the depth maps, without checks: depth_maps.cc has made them.
#pragma once

#include "facedepth/depth_maps.h"

namespace facedepth::cpu {

// Does what facedepth::write_depth_maps promises for arguments that keep its rules.
DepthSummary write_depth_maps(const NetworkMaps& network, const DepthScale& scale, const DepthMaps& out) noexcept;

}  // namespace facedepth::cpu
