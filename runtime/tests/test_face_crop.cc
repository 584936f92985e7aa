// SPDX-License-Identifier: Apache-2.0
// The numbers of the face crop, for every kernel that this processor can run.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "face_crop_cpu.h"
#include "facedepth/face_crop.h"
#include "reference_crop.h"

namespace facedepth::test {
namespace {

using Generator = std::mt19937_64;

int whole(Generator& random, int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); }
double real(Generator& random, double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(random);
}

// A frame in memory of exactly its size, so that a sanitizer sees every byte read too many.
struct Frame {
  std::vector<unsigned char> bytes;
  FrameView view;
};

Frame random_frame(Generator& random, int height, int width, int channels, PixelType type) {
  Frame frame;
  const int row_bytes = width * channels * (type == PixelType::uint16 ? 2 : 1);
  const std::ptrdiff_t stride = row_bytes + (whole(random, 0, 1) == 1 ? whole(random, 1, 70) : 0);
  frame.bytes.resize(static_cast<std::size_t>(stride * (height - 1) + row_bytes));
  const int top = type == PixelType::uint16 ? 4095 : 255;
  for (unsigned char& byte : frame.bytes) byte = static_cast<unsigned char>(whole(random, 0, 255));
  if (type == PixelType::uint16) {
    for (std::size_t i = 0; i + 1 < frame.bytes.size(); i += 2) frame.bytes[i + 1] &= 15;
  }
  frame.view = {frame.bytes.data(), width, height, channels, type, stride, static_cast<double>(top)};
  if (type == PixelType::uint16 && stride % 2 == 1) frame.view.max_value = 65535.0;  // rows mix the bytes of a pixel
  if (whole(random, 0, 3) == 0) {                                                    // rows that go upwards
    frame.view.data = frame.bytes.data() + stride * (height - 1);
    frame.view.row_stride_bytes = -stride;
  }
  return frame;
}

Box random_box(Generator& random, int height, int width) {
  const double box_width = std::exp(real(random, std::log(0.3), std::log(3.0 * width)));
  const double box_height = std::exp(real(random, std::log(0.3), std::log(3.0 * height)));
  const double x = real(random, -0.5 * box_width, width + 0.5 * box_width);
  const double y = real(random, -0.5 * box_height, height + 0.5 * box_height);
  return {x - box_width / 2, y - box_height / 2, x + box_width / 2, y + box_height / 2};
}

std::vector<float> crop(const FrameView& frame, const Box& box, int height, int width, const cpu::CropKernels& kernels,
                        const Normalisation& normalisation = {1.0, 0.0, 1.0}) {
  std::vector<float> out(static_cast<std::size_t>(height * width), std::nanf(""));
  std::vector<unsigned char> workspace(crop_face_workspace_bytes(frame.width, frame.channels, width), 0xFF);
  cpu::crop_face(frame, box, normalisation,
                 {out.data(), width, height, ElementType::float32, width * static_cast<std::ptrdiff_t>(sizeof(float))},
                 workspace.data(), kernels);
  return out;
}

double half_value(std::uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const int fraction = half & 1023;
  const double sign = (half & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 31) return fraction == 0 ? sign * INFINITY : NAN;
  return sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
}

// Crops a pixel of gray level 1 into one element of another type: out = scale.
template <typename Element>
Element element_of(ElementType type, double scale, double int8_step) {
  const unsigned char one = 1;
  Element element{};
  std::vector<unsigned char> workspace(crop_face_workspace_bytes(1, 1, 1));
  crop_face({&one, 1, 1, 1, PixelType::uint8, 1, 255.0}, {0.0, 0.0, 1.0, 1.0}, {scale, 0.0, int8_step},
            {&element, 1, 1, type, sizeof(Element)}, workspace.data(), workspace.size());
  return element;
}

TEST_CASE("1,000 random crops agree with float64 within 0.01 gray level") {
  for (std::size_t index = 0; index < cpu::count_crop_kernels(); ++index) {
    const cpu::CropKernels& kernels = cpu::crop_kernels_at(index);
    CAPTURE(std::string(kernels.name));
    Generator random(20240607);
    double worst = 0.0;
    double spread = 0.0;
    for (int round = 0; round < 1000; ++round) {
      const int frame_height = whole(random, 1, 90);
      const int frame_width = whole(random, 1, 120);
      const Frame frame = random_frame(random, frame_height, frame_width, whole(random, 0, 1) == 1 ? 3 : 1,
                                       whole(random, 0, 1) == 1 ? PixelType::uint16 : PixelType::uint8);
      const Box box = random_box(random, frame_height, frame_width);
      const int height = whole(random, 1, 24);
      const int width = whole(random, 1, 24);
      const std::vector<double> expected = reference_crop(frame.view, box, height, width);
      const std::vector<float> found = crop(frame.view, box, height, width, kernels);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const double error = std::fabs(found[i] - expected[i]);
        worst = error <= worst ? worst : error;  // a NaN stays
        spread = std::max(spread, std::fabs(expected[i] - expected[0]));
      }
    }
    CHECK(worst < 0.01);
    CHECK(spread > 100.0);
  }
}

TEST_CASE("the largest sums keep their precision") {
  // White in as many rows as a frame may have.
  for (std::size_t index = 0; index < cpu::count_crop_kernels(); ++index) {
    const cpu::CropKernels& kernels = cpu::crop_kernels_at(index);
    CAPTURE(std::string(kernels.name));
    for (const PixelType type : {PixelType::uint8, PixelType::uint16}) {
      const int row_bytes = 40 * (type == PixelType::uint16 ? 2 : 1);
      const std::vector<unsigned char> white(static_cast<std::size_t>(row_bytes) * 32768, 255);
      const FrameView frame{white.data(), 40, 32768, 1, type, row_bytes, type == PixelType::uint16 ? 65535.0 : 255.0};
      for (const int height : {1, 3, 200}) {
        for (const float level : crop(frame, {0.25, -50.5, 39.5, 32870.25}, height, 2, kernels)) {
          CHECK(std::fabs(level - 255.0F) < 1e-3F);
        }
      }
    }
  }
}

TEST_CASE("a box on the pixel grid copies the pixels") {
  Generator random(1);
  const Frame frame = random_frame(random, 9, 14, 1, PixelType::uint8);
  const auto* pixels = static_cast<const unsigned char*>(frame.view.data);
  for (std::size_t index = 0; index < cpu::count_crop_kernels(); ++index) {
    const std::vector<float> found = crop(frame.view, {2.0, 1.0, 13.0, 8.0}, 7, 11, cpu::crop_kernels_at(index));
    for (int y = 0; y < 7; ++y) {
      for (int x = 0; x < 11; ++x) {
        CHECK(found[static_cast<std::size_t>(11 * y + x)] ==
              static_cast<float>(pixels[frame.view.row_stride_bytes * (y + 1) + x + 2]));
      }
    }
  }
}

TEST_CASE("the normalisation is scale * gray + offset") {
  Generator random(2);
  const Frame frame = random_frame(random, 40, 50, 3, PixelType::uint8);
  const Box box{3.3, 2.2, 44.4, 37.1};
  const std::vector<double> levels = reference_crop(frame.view, box, 8, 8);
  const std::vector<float> found =
      crop(frame.view, box, 8, 8, cpu::crop_kernels_at(cpu::count_crop_kernels() - 1), {1.0 / 127.5, -1.0, 1.0});
  for (std::size_t i = 0; i < levels.size(); ++i) {
    CHECK(std::fabs(found[i] - (levels[i] / 127.5 - 1.0)) < 0.01 / 127.5);
  }
}

TEST_CASE("the statistics are those of the elements before rounding") {
  for (std::size_t index = 0; index < cpu::count_crop_kernels(); ++index) {
    const cpu::CropKernels& kernels = cpu::crop_kernels_at(index);
    CAPTURE(std::string(kernels.name));
    Generator random(5);
    for (int round = 0; round < 200; ++round) {
      const Frame frame = random_frame(random, whole(random, 1, 60), whole(random, 1, 70), 3, PixelType::uint8);
      const Box box = random_box(random, frame.view.height, frame.view.width);
      const int height = whole(random, 1, 14);
      const int width = whole(random, 1, 14);
      const Normalisation normalisation{1.0 / 127.5, round % 2 == 0 ? -1.0 : 1000.0, 1.0 / 127.0};
      const std::vector<float> values = crop(frame.view, box, height, width, kernels, normalisation);
      double mean = 0.0;
      for (const float value : values) mean += value / static_cast<double>(values.size());
      double variance = 0.0;
      for (const float value : values) variance += (value - mean) * (value - mean) / static_cast<double>(values.size());
      std::vector<signed char> rounded(values.size());
      std::vector<unsigned char> workspace(crop_face_workspace_bytes(frame.view.width, 3, width), 0xFF);
      const CropStatistics found =
          cpu::crop_face(frame.view, box, normalisation, {rounded.data(), width, height, ElementType::int8, width},
                         workspace.data(), kernels);
      CHECK(std::fabs(found.mean - mean) < 1e-9);
      CHECK(std::fabs(found.deviation - std::sqrt(variance)) < 1e-7);
      CHECK(found.smallest == *std::min_element(values.begin(), values.end()));
      CHECK(found.largest == *std::max_element(values.begin(), values.end()));
    }
  }
}

TEST_CASE("float16 is the nearest half, ties to even") {
  const auto half_of = [](double value) { return element_of<std::uint16_t>(ElementType::float16, value, 1.0); };
  CHECK(half_of(1.0) == 0x3C00);
  CHECK(half_of(-2.0) == 0xC000);
  CHECK(half_of(0.0) == 0x0000);
  CHECK(half_value(half_of(2049.0)) == 2048.0);
  CHECK(half_value(half_of(2051.0)) == 2052.0);
  CHECK(half_value(half_of(65519.0)) == 65504.0);
  CHECK(half_of(65520.0) == 0x7C00);
  CHECK(half_of(-1e6) == 0xFC00);
  CHECK(half_of(std::ldexp(1.0, -24)) == 0x0001);
  CHECK(half_of(std::ldexp(1023.0, -24)) == 0x03FF);
  CHECK(half_of(std::ldexp(1024.0, -24)) == 0x0400);
  Generator random(3);
  for (int round = 0; round < 20000; ++round) {
    const double value = std::exp2(real(random, -26.0, 15.9)) * (whole(random, 0, 1) == 1 ? 1.0 : -1.0);
    const double ulp = std::exp2(std::max(std::floor(std::log2(std::fabs(value))) - 10.0, -24.0));
    CAPTURE(value);
    CHECK(std::fabs(half_value(half_of(value)) - value) <= 0.5001 * ulp);
  }
}

TEST_CASE("int8 is rounded to even and kept in range") {
  const auto int8_of = [](double value, double step) {
    return static_cast<int>(element_of<std::int8_t>(ElementType::int8, value, step));
  };
  CHECK(int8_of(1.0, 1.0 / 127.0) == 127);
  CHECK(int8_of(-1.0, 1.0 / 127.0) == -127);
  CHECK(int8_of(0.5, 1.0) == 0);
  CHECK(int8_of(1.5, 1.0) == 2);
  CHECK(int8_of(-2.5, 1.0) == -2);
  CHECK(int8_of(300.0, 1.0) == 127);
  CHECK(int8_of(-300.0, 1.0) == -128);
  CHECK(int8_of(1e6, 1e-6) == 127);
  CHECK(int8_of(-0.3, 0.1) == -3);
}

TEST_CASE("each element type writes its plane and nothing beside it") {
  Generator random(4);
  const Frame frame = random_frame(random, 60, 70, 3, PixelType::uint8);
  const Box box{1.5, 2.5, 61.0, 55.0};
  const int height = 5;
  const int width = 7;
  const Normalisation normalisation{1.0 / 127.5, -1.0, 1.0 / 127.0};
  const std::vector<double> levels = reference_crop(frame.view, box, height, width);
  for (const ElementType type : {ElementType::float32, ElementType::float16, ElementType::int8}) {
    const int element = type == ElementType::float32 ? 4 : type == ElementType::float16 ? 2 : 1;
    const int stride = element * width + 3;
    std::vector<unsigned char> plane(static_cast<std::size_t>(stride * height), 0xA5);
    FaceCropper cropper(normalisation);
    cropper.crop(frame.view, box, {plane.data(), width, height, type, stride});
    for (int y = 0; y < height; ++y) {
      const unsigned char* row = plane.data() + stride * y;
      for (int i = 0; i < 3; ++i) CHECK(row[element * width + i] == 0xA5);
      for (int x = 0; x < width; ++x) {
        const double expected = levels[static_cast<std::size_t>(width * y + x)] / 127.5 - 1.0;
        if (type == ElementType::float32) {
          float value = 0.0F;
          std::memcpy(&value, row + 4 * x, sizeof(value));
          CHECK(std::fabs(value - expected) < 1e-4);
        } else if (type == ElementType::float16) {
          std::uint16_t value = 0;
          std::memcpy(&value, row + 2 * x, sizeof(value));
          CHECK(std::fabs(half_value(value) - expected) < 6e-4);
        } else {
          CHECK(std::fabs(static_cast<signed char>(row[x]) / 127.0 - expected) < 0.501 / 127.0);
        }
      }
    }
  }
}

}  // namespace
}  // namespace facedepth::test
