// SPDX-License-Identifier: Apache-2.0
// The depth maps: numbers against double, NaN, and the arguments that are refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "facedepth/depth_maps.h"
#include "facedepth/error.h"

namespace facedepth::test {
namespace {

struct Planes {
  explicit Planes(std::size_t count) : depth_mm(count, -9.0F), relative(count, -9.0F), mask(count, 9) {}
  DepthMaps view() { return {depth_mm.data(), relative.data(), mask.data()}; }

  std::vector<float> depth_mm;
  std::vector<float> relative;
  std::vector<std::uint8_t> mask;
};

std::string message_of(const NetworkMaps& network, const DepthScale& scale, const DepthMaps& out) {
  try {
    write_depth_maps(network, scale, out);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("depth maps agree with double") {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0F, 0.8F);
  std::uniform_real_distribution<float> share(0.0F, 1.0F);
  for (const std::size_t count : {1U, 7U, 1023U, 1024U, 1025U, 9216U}) {
    CAPTURE(count);
    std::vector<float> z(count);
    std::vector<float> probability(count);
    std::generate(z.begin(), z.end(), [&] { return normal(random); });
    std::generate(probability.begin(), probability.end(), [&] { return share(random); });
    for (const bool with_mask : {true, false}) {
      Planes planes(count);
      const DepthScale scale{712.5, 160.0, 0.25};
      const DepthSummary found =
          write_depth_maps({z.data(), with_mask ? probability.data() : nullptr, count}, scale, planes.view());
      bool any = false;
      for (std::size_t i = 0; i < count; ++i) {
        const double relative = std::clamp<double>(z[i], -1.0, 1.0);
        CHECK(planes.relative[i] == relative);
        CHECK(std::fabs(planes.depth_mm[i] - (712.5 + 160.0 * relative)) < 1e-4);
        const bool head = with_mask ? probability[i] > 0.25F : relative < 0.25;
        CHECK(planes.mask[i] == (head ? 1 : 0));
        any = any || head;
      }
      CHECK(found.finite);
      CHECK(found.has_head == any);
    }
  }
}

TEST_CASE("NaN is kept and told") {
  std::vector<float> z(2000, 0.5F);
  z[1999] = std::nanf("");
  Planes planes(z.size());
  const DepthSummary found = write_depth_maps({z.data(), nullptr, z.size()}, {700.0, 160.0, 0.0}, planes.view());
  CHECK_FALSE(found.finite);
  CHECK_FALSE(found.has_head);
  CHECK(std::isnan(planes.relative[1999]));
  CHECK(std::isnan(planes.depth_mm[1999]));
  CHECK(planes.mask[1999] == 0);
  z[1999] = std::numeric_limits<float>::infinity();
  CHECK(write_depth_maps({z.data(), nullptr, z.size()}, {700.0, 160.0, 0.0}, planes.view()).finite);
  CHECK(planes.relative[1999] == 1.0F);
}

TEST_CASE("what the depth maps cannot use is refused, and nothing is written") {
  const std::vector<float> z(16, 0.0F);
  Planes planes(16);
  const DepthScale scale{700.0, 160.0, 0.5};
  const double inf = std::numeric_limits<double>::infinity();
  CHECK(message_of({nullptr, nullptr, 16}, scale, planes.view()).rfind("network.depth: got null, expected", 0) == 0);
  CHECK(message_of({z.data(), nullptr, 0}, scale, planes.view()).rfind("network.count: got 0, expected 1 to", 0) == 0);
  CHECK(message_of({z.data(), nullptr, 16}, {inf, 160.0, 0.5}, planes.view()).rfind("scale.distance_mm: got inf", 0) ==
        0);
  CHECK(message_of({z.data(), nullptr, 16}, {700.0, 0.0, 0.5}, planes.view()).rfind("scale.half_range_mm: got 0,", 0) ==
        0);
  CHECK(message_of({z.data(), nullptr, 16}, {700.0, 160.0, inf}, planes.view())
            .rfind("scale.mask_threshold: got inf,", 0) == 0);
  CHECK(message_of({z.data(), nullptr, 16}, scale, {planes.depth_mm.data(), planes.relative.data(), nullptr})
            .rfind("out.mask: got null", 0) == 0);
  CHECK(planes.depth_mm[0] == -9.0F);
}

}  // namespace
}  // namespace facedepth::test
