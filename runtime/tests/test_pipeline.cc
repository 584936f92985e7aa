// SPDX-License-Identifier: Apache-2.0
// The way of a frame, with a network that answers what it is told.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "facedepth/error.h"
#include "facedepth/pipeline.h"
#include "reference_crop.h"

namespace facedepth::test {
namespace {

constexpr int kSide = 12;

ModelSpec small_spec() {
  ModelSpec spec = spec_from_json(read_file(FDE_SOURCE_DIR "/facedepth_edge/models/edge/spec.json"), "spec.json");
  spec.input_width = spec.input_height = spec.output_width = spec.output_height = kSide;
  spec.along_ray = false;
  return spec;
}

// Head but for the outermost pixels, and only in the first rows.
std::vector<float> mask_within(int rows, int border) {
  std::vector<float> mask(kSide * kSide, 0.1F);
  for (int row = border; row < std::min(rows, kSide - border); ++row) {
    for (int column = border; column < kSide - border; ++column) mask[row * kSide + column] = 0.9F;
  }
  return mask;
}

// Answers with its input as depth.
class Mirror : public Engine {
 public:
  NetworkOutput run(const FrameView& frame, const Box& box) override {
    const CropStatistics crop = cropper_.crop(
        frame, box,
        {face_.data(), kSide, kSide, ElementType::float32, static_cast<std::ptrdiff_t>(kSide * sizeof(float))});
    return {face_.data(), has_mask_ ? mask_.data() : nullptr, &validity_, crop};
  }

  FaceCropper cropper_{{1.0 / 127.5, -1.0, 1.0}};
  std::vector<float> face_ = std::vector<float>(kSide * kSide);
  std::vector<float> mask_ = mask_within(kSide, 1);
  float validity_ = 0.9F;
  bool has_mask_ = true;
};

struct Scene {
  Scene() : pixels(90 * 120 * 3), engine(new Mirror), pipeline(small_spec(), std::unique_ptr<Engine>(engine)) {
    std::mt19937 random(3);
    for (unsigned char& pixel : pixels) pixel = static_cast<unsigned char>(random() >> 24U);
    frame = {pixels.data(), 120, 90, 3, PixelType::uint8, 360, 255.0};
  }

  std::vector<unsigned char> pixels;
  FrameView frame;
  HeadPosition head{60.5, 40.25, 700.0, 150.0, 160.0};
  Mirror* engine;  // the pipeline's
  FaceDepthPipeline pipeline;
};

TEST_CASE("the box follows equation 6") {
  const Box box = box_from_head({100.0, 50.0, 800.0, 400.0, 200.0}, 320.0, 320.0);
  CHECK(box.x1 - box.x0 == doctest::Approx(160.0));
  CHECK(box.y1 - box.y0 == doctest::Approx(80.0));
  CHECK((box.x0 + box.x1) / 2 == doctest::Approx(100.0));
}

TEST_CASE("a frame becomes depth in millimetres") {
  Scene scene;
  const FaceDepth& found = scene.pipeline.predict(scene.frame, scene.head);
  const Box box = box_from_head(scene.head, 320.0, 320.0);
  const std::vector<double> levels = reference_crop(scene.frame, box, kSide, kSide);
  REQUIRE(found.depth_mm.size() == levels.size());
  double mean = 0.0;
  double variance = 0.0;
  for (const double level : levels) mean += level / static_cast<double>(levels.size());
  for (const double level : levels) variance += (level - mean) * (level - mean) / static_cast<double>(levels.size());
  for (std::size_t i = 0; i < levels.size(); ++i) {
    CHECK(std::fabs(found.depth_mm[i] - (700.0 + 160.0 * (levels[i] / 127.5 - 1.0))) < 0.02);
    CHECK((found.mask[i] == 1) == (scene.engine->mask_[i] > 0.5F));
  }
  CHECK(found.contrast_levels == doctest::Approx(std::sqrt(variance)).epsilon(1e-3));
  CHECK(found.box.x0 == box.x0);
  CHECK(found.valid);
  CHECK(found.face_seen == 1.0);
  CHECK(std::string(found.reason).empty());
}

// Depth along the ray to the head of a point that a pixel shows at a depth along the optical axis.
double along_ray(double z_mm, double u, double v, double a, double b) {
  return z_mm * (u * a + v * b + 1.0) / std::sqrt(a * a + b * b + 1.0);
}

TEST_CASE("depth along the ray becomes depth along the optical axis") {
  for (const bool middle : {true, false}) {
    CAPTURE(middle);
    Scene scene;
    ModelSpec spec = small_spec();
    spec.along_ray = true;
    spec.half_range_mm = 40.0;  // nothing reaches the ends of the range
    scene.engine = new Mirror;
    FaceDepthPipeline pipeline(spec, std::unique_ptr<Engine>(scene.engine));
    for (unsigned char& pixel : scene.pixels) pixel = static_cast<unsigned char>(100 + pixel / 8);
    scene.head = {20.5, 70.25, 700.0, 150.0, 160.0};
    if (!middle) {
      scene.head.cx = 75.5;
      scene.head.cy = 10.0;
    }
    const FaceDepth& found = pipeline.predict(scene.frame, scene.head);
    const double cx = middle ? 60.0 : 75.5;
    const double cy = middle ? 45.0 : 10.0;
    const double a = (20.5 - cx) / 150.0;
    const double b = (70.25 - cy) / 160.0;
    for (int row = 0; row < kSide; ++row) {
      for (int column = 0; column < kSide; ++column) {
        const std::size_t i = static_cast<std::size_t>(row * kSide + column);
        const double u = (found.box.x0 + (column + 0.5) / kSide * (found.box.x1 - found.box.x0) - cx) / 150.0;
        const double v = (found.box.y0 + (row + 0.5) / kSide * (found.box.y1 - found.box.y0) - cy) / 160.0;
        const double relative = (found.depth_mm[i] - 700.0) / 40.0;
        if (std::fabs(relative) > 0.999) continue;  // kept in the range
        const double expected = along_ray(700.0, a, b, a, b) + 40.0 * scene.engine->face_[i];
        CHECK(std::fabs(along_ray(found.depth_mm[i], u, v, a, b) - expected) < 0.01);
      }
    }
    CHECK(found.relative[0] != found.relative[kSide * kSide - 1]);
  }
}

TEST_CASE("without a mask output the head is where the network's own depth is below the threshold") {
  for (const bool along_ray : {false, true}) {
    CAPTURE(along_ray);
    Scene scene;
    ModelSpec spec = small_spec();
    spec.along_ray = along_ray;
    spec.mask_name.clear();
    spec.mask_threshold = 0.1;
    scene.engine = new Mirror;
    scene.engine->has_mask_ = false;
    FaceDepthPipeline pipeline(spec, std::unique_ptr<Engine>(scene.engine));
    const FaceDepth& found = pipeline.predict(scene.frame, {60.5, 40.25, 700.0, 150.0, 160.0, 100.0, 10.0});
    std::int64_t heads = 0;
    std::int64_t moved = 0;  // pixels for which depth along the axis would have given another answer
    for (std::size_t i = 0; i < found.mask.size(); ++i) {
      CHECK((found.mask[i] == 1) == (scene.engine->face_[i] < 0.1F));
      heads += found.mask[i];
      moved += (found.relative[i] < 0.1F) != (found.mask[i] == 1) ? 1 : 0;
    }
    CHECK(heads > 0);
    CHECK(heads < static_cast<std::int64_t>(found.mask.size()));
    CHECK((moved > 0) == along_ray);
    CHECK(found.face_seen == -1.0);
  }
}

TEST_CASE("a head that is nearer than its box is wide gives numbers all the same") {
  ModelSpec spec = small_spec();
  spec.along_ray = true;
  Scene scene;
  FaceDepthPipeline pipeline(spec, std::make_unique<Mirror>());
  const FaceDepth& found = pipeline.predict(scene.frame, {1.0, 89.0, 40.0, 60.0, 60.0});
  for (const float depth_mm : found.depth_mm) CHECK(std::isfinite(depth_mm));
  CHECK(std::string(found.reason).rfind("the face is covered, outside the frame", 0) == 0);
}

TEST_CASE("what cannot be used is not valid, and says why") {
  Scene scene;
  const auto reason = [&] {
    const FaceDepth& found = scene.pipeline.predict(scene.frame, scene.head);
    CHECK(found.valid == std::string(found.reason).empty());
    return std::string(found.reason);
  };
  scene.engine->validity_ = 0.4F;
  CHECK(reason().rfind("a head turned away, or its face covered", 0) == 0);
  scene.engine->mask_.assign(kSide * kSide, 0.1F);
  CHECK(reason().rfind("no usable face", 0) == 0);
  scene.engine->validity_ = std::nanf("");
  CHECK(reason().rfind("no usable face", 0) == 0);
  scene.engine->validity_ = 0.9F;
  scene.engine->mask_.assign(kSide * kSide, 0.1F);
  CHECK(reason().rfind("no head", 0) == 0);
  scene.engine->mask_ = mask_within(kSide, 0);
  CHECK(reason().rfind("the head fills its box", 0) == 0);
  scene.engine->mask_ = mask_within(kSide, 1);
  for (int column = 0; column < kSide - 1; ++column) scene.engine->mask_[column] = 0.9F;  // 11 of 44, a quarter
  CHECK(reason().empty());
  scene.engine->mask_[kSide - 1] = 0.9F;
  CHECK(reason().rfind("the head fills its box", 0) == 0);
  scene.engine->mask_ = mask_within(kSide / 2, 1);
  CHECK(reason().rfind("the face is covered", 0) == 0);
  CHECK(scene.pipeline.predict(scene.frame, scene.head).face_seen == doctest::Approx(0.5));
  scene.engine->mask_.assign(kSide * kSide, 0.1F);
  scene.pixels.assign(scene.pixels.size(), 7);
  CHECK(reason().rfind("nothing to see", 0) == 0);
}

TEST_CASE("what no camera saw is no head") {
  Scene scene;
  scene.engine->mask_.assign(kSide * kSide, 0.9F);
  scene.head.x = 4.5;
  scene.head.y = 85.25;
  const FaceDepth& found = scene.pipeline.predict(scene.frame, scene.head);
  bool outside = false;
  for (int row = 0; row < kSide; ++row) {
    for (int column = 0; column < kSide; ++column) {
      const double x = found.box.x0 + (column + 0.5) / kSide * (found.box.x1 - found.box.x0);
      const double y = found.box.y0 + (row + 0.5) / kSide * (found.box.y1 - found.box.y0);
      const bool seen = x >= 0.0 && x < 120.0 && y >= 0.0 && y < 90.0;
      CHECK((found.mask[static_cast<std::size_t>(row * kSide + column)] == 1) == seen);
      outside |= !seen;
    }
  }
  CHECK(outside);
  CHECK(found.face_seen < 0.6);
  CHECK(std::string(found.reason).rfind("the head fills its box", 0) == 0);
}

TEST_CASE("a box of too few pixels is not valid") {
  Scene scene;
  scene.head.distance_mm = 150.0 * 320.0 / 24.0;
  CHECK(scene.pipeline.predict(scene.frame, scene.head).valid);
  scene.head.distance_mm += 1.0;
  CHECK(std::string(scene.pipeline.predict(scene.frame, scene.head).reason).rfind("too few pixels", 0) == 0);
}

// Answers with a mask of its own over a box that is not square, or with none.
class Masked : public Engine {
 public:
  static constexpr int kWidth = 64;
  static constexpr int kHeight = 96;

  NetworkOutput run(const FrameView&, const Box&) override {
    return {depth_.data(), has_mask_ ? mask_.data() : nullptr, &validity_, {0.0, 0.5, -1.0, 1.0}};
  }

  bool has_mask_ = true;
  std::vector<float> depth_ = std::vector<float>(kWidth * kHeight);
  std::vector<float> mask_ = std::vector<float>(kWidth * kHeight);
  float validity_ = 0.9F;
};

TEST_CASE("a face is looked for in an ellipse of 120 by 160 mm, and 60 % of it must be head") {
  ModelSpec spec = small_spec();
  spec.output_width = Masked::kWidth;
  spec.output_height = Masked::kHeight;
  spec.reach_x_mm = 320.0;
  spec.reach_y_mm = 400.0;
  auto* engine = new Masked;
  FaceDepthPipeline pipeline(spec, std::unique_ptr<Engine>(engine));
  std::vector<std::size_t> place;
  for (int row = 0; row < Masked::kHeight; ++row) {
    for (int column = 0; column < Masked::kWidth; ++column) {
      const double across_mm = (column + 0.5) * 5.0 - 160.0;
      const double down_mm = (row + 0.5) * (400.0 / 96.0) - 200.0;
      if (std::hypot(across_mm / 60.0, down_mm / 80.0) <= 1.0) {
        place.push_back(static_cast<std::size_t>(row * Masked::kWidth + column));
      }
    }
  }
  REQUIRE(place.size() > 500);
  const Scene scene;
  const auto predict = [&]() -> const FaceDepth& { return pipeline.predict(scene.frame, scene.head); };
  const std::size_t enough = (place.size() * 6 + 9) / 10;
  for (std::size_t i = 0; i < enough - 1; ++i) engine->mask_[place[i]] = 1.0F;
  CHECK_FALSE(predict().valid);
  CHECK(std::string(predict().reason).rfind("the face is covered", 0) == 0);
  engine->mask_[place[enough - 1]] = 1.0F;
  CHECK(predict().valid);
  for (const std::size_t pixel : place) engine->mask_[pixel] = 1.0F;
  CHECK(predict().face_seen == 1.0);
  for (float& value : engine->mask_) value = 1.0F - value;
  CHECK(predict().face_seen == 0.0);
  CHECK(std::string(predict().reason).rfind("the head fills its box", 0) == 0);
  engine->has_mask_ = false;
  CHECK(predict().face_seen == -1.0);
  CHECK(std::string(predict().reason).empty());
}

TEST_CASE("a position that breaks a rule is refused") {
  Scene scene;
  const auto refused = [&](HeadPosition head, const std::string& start) {
    try {
      scene.pipeline.predict(scene.frame, head);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::input);
      CHECK_MESSAGE(std::string(error.what()).rfind(start, 0) == 0, error.what());
      return;
    }
    CHECK_MESSAGE(false, start);
  };
  refused({-0.5, 40.0, 700.0, 150.0, 150.0}, "head.x: got -0.5, expected 0 up to the frame's width (120).");
  refused({60.0, 90.0, 700.0, 150.0, 150.0}, "head.y: got 90, expected");
  refused({60.0, 40.0, 0.7, 150.0, 150.0}, "head.distance_mm: got 0.7, expected 10 to 100000 millimetres.");
  refused({60.0, 40.0, 700.0, std::nan(""), 150.0}, "head.fx: got nan, expected a finite number above 0.");
  refused({60.0, 40.0, 700.0, 150.0, 150.0, std::numeric_limits<double>::infinity()}, "head.cx: got inf, expected a finite");
  std::vector<std::uint16_t> bright(90 * 120, 4000);
  scene.frame = {bright.data(), 120, 90, 1, PixelType::uint16, 240, 1023.0};
  refused(scene.head, "frame: got 4000");
}

TEST_CASE("a frame that is refused leaves the last result as it was") {
  Scene scene;
  const FaceDepth& found = scene.pipeline.predict(scene.frame, scene.head);
  const FaceDepth before = found;
  HeadPosition far_away = scene.head;
  far_away.fx = 1e9;  // a box that no crop takes
  CHECK_THROWS_AS(scene.pipeline.predict(scene.frame, far_away), Error);
  CHECK(found.box.x0 == before.box.x0);
  CHECK(found.box.x1 == before.box.x1);
  CHECK(found.depth_mm == before.depth_mm);
  CHECK(found.valid == before.valid);
}

TEST_CASE("a library without TensorRT says so") {
  try {
    open_tensorrt_engine(small_spec(), "none.plan");
  } catch (const Error& error) {
    CHECK(error.kind() != ErrorKind::input);
    return;
  }
  CHECK_MESSAGE(false, "an engine without a plan");
}

}  // namespace
}  // namespace facedepth::test
