// SPDX-License-Identifier: Apache-2.0
// The depth maps on the CPU: plain loops without branches, which the compiler turns into vectors.

#include "depth_maps_cpu.h"

#include <algorithm>

namespace facedepth::cpu {
namespace {

// Elements at a time: they stay in the cache from one loop to the next.
constexpr std::size_t kBlock = 1024;

// Both comparisons are false for NaN, which is what keeps it.
inline __attribute__((always_inline)) float clamp_to_one(float z) {
  const float low = z < -1.0F ? -1.0F : z;
  return low > 1.0F ? 1.0F : low;
}

// Inlined by force, so that it is compiled for the instruction set of the function that it ends up in.
inline __attribute__((always_inline)) DepthSummary write_blocks(const NetworkMaps& network, const DepthScale& scale,
                                                                const DepthMaps& out) {
  const auto distance_mm = static_cast<float>(scale.distance_mm);
  const auto half_range_mm = static_cast<float>(scale.half_range_mm);
  const auto threshold = static_cast<float>(scale.mask_threshold);
  unsigned unordered = 0;
  unsigned head = 0;
  for (std::size_t begin = 0; begin < network.count; begin += kBlock) {
    const std::size_t count = std::min(kBlock, network.count - begin);
    const float* __restrict depth = network.depth + begin;
    float* __restrict depth_mm = out.depth_mm + begin;
    float* __restrict relative = out.relative + begin;
    std::uint8_t* __restrict mask = out.mask + begin;
    unsigned block_unordered = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const float z = clamp_to_one(depth[i]);
      relative[i] = z;
      const float offset_mm = z * half_range_mm;
      depth_mm[i] = offset_mm + distance_mm;
      block_unordered |= z != z ? 1U : 0U;
    }
    unordered |= block_unordered;
    if (network.mask_probability != nullptr) {
      const float* __restrict probability = network.mask_probability + begin;
      for (std::size_t i = 0; i < count; ++i) mask[i] = probability[i] > threshold ? 1 : 0;
    } else {
      for (std::size_t i = 0; i < count; ++i) mask[i] = relative[i] < threshold ? 1 : 0;
    }
    std::uint8_t block_head = 0;
    for (std::size_t i = 0; i < count; ++i) block_head = static_cast<std::uint8_t>(block_head | mask[i]);
    head |= block_head;
  }
  return {unordered == 0, head != 0};
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) DepthSummary write_avx2(const NetworkMaps& network, const DepthScale& scale,
                                                        const DepthMaps& out) {
  return write_blocks(network, scale, out);
}
#endif

}  // namespace

DepthSummary write_depth_maps(const NetworkMaps& network, const DepthScale& scale, const DepthMaps& out) noexcept {
#if defined(__x86_64__)
  static const bool has_avx2 = __builtin_cpu_supports("avx2") != 0;
  if (has_avx2) return write_avx2(network, scale, out);
#endif
  return write_blocks(network, scale, out);
}

}  // namespace facedepth::cpu
