// SPDX-License-Identifier: Apache-2.0
// Times the face crop on one thread, for each kernel that this processor can run. Prints one line a case:
// kernel, frame, box, microseconds: the fastest run, p50 and p99.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "face_crop_cpu.h"
#include "facedepth/face_crop.h"

namespace {

using facedepth::PixelType;

struct Case {
  const char* name;
  std::int32_t channels;
  PixelType pixel_type;
  double box_px;
};

constexpr std::int32_t kWidth = 1280;
constexpr std::int32_t kHeight = 720;
constexpr std::int32_t kSide = 96;
constexpr int kWarmUp = 200;
constexpr int kRuns = 2000;

void time_case(const Case& what, const facedepth::cpu::CropKernels& kernels) {
  const std::int32_t pixel_bytes = what.channels * (what.pixel_type == PixelType::uint16 ? 2 : 1);
  std::vector<unsigned char> pixels(static_cast<std::size_t>(kWidth) * kHeight * static_cast<std::size_t>(pixel_bytes));
  std::uint32_t state = 1;
  for (unsigned char& pixel : pixels) {
    state = state * 1664525U + 1013904223U;
    pixel = static_cast<unsigned char>(state >> 24U);
  }
  std::vector<float> face(kSide * kSide);
  std::vector<unsigned char> workspace(facedepth::crop_face_workspace_bytes(kWidth, what.channels, kSide));
  const facedepth::FrameView frame{pixels.data(),
                                   kWidth,
                                   kHeight,
                                   what.channels,
                                   what.pixel_type,
                                   static_cast<std::ptrdiff_t>(kWidth) * pixel_bytes,
                                   what.pixel_type == PixelType::uint16 ? 65535.0 : 255.0};
  const facedepth::TensorView out{face.data(), kSide, kSide, facedepth::ElementType::float32,
                                  kSide * static_cast<std::ptrdiff_t>(sizeof(float))};
  const double x0 = 640.3 - what.box_px / 2;
  const double y0 = 360.7 - what.box_px / 2;
  const facedepth::Box box{x0, y0, x0 + what.box_px, y0 + what.box_px};

  std::vector<double> micros;
  micros.reserve(kRuns);
  for (int run = -kWarmUp; run < kRuns; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    facedepth::cpu::crop_face(frame, box, {1.0 / 127.5, -1.0, 1.0}, out, workspace.data(), kernels);
    const auto end = std::chrono::steady_clock::now();
    if (run >= 0) micros.push_back(std::chrono::duration<double, std::micro>(end - begin).count());
  }
  std::sort(micros.begin(), micros.end());
  std::printf("%-9s %dx%d %-11s box %5.1f px  min %6.1f us  p50 %6.1f us  p99 %6.1f us\n", kernels.name, kWidth,
              kHeight, what.name, what.box_px, micros.front(), micros[kRuns / 2], micros[kRuns * 99 / 100]);
}

}  // namespace

int main() {
  const Case cases[] = {{"BGR uint8", 3, PixelType::uint8, 509.0},
                        {"BGR uint8", 3, PixelType::uint8, 200.0},
                        {"BGR uint8", 3, PixelType::uint8, 80.0},
                        {"gray uint8", 1, PixelType::uint8, 509.0},
                        {"gray uint16", 1, PixelType::uint16, 509.0}};
  for (std::size_t index = 0; index < facedepth::cpu::count_crop_kernels(); ++index) {
    for (const Case& what : cases) time_case(what, facedepth::cpu::crop_kernels_at(index));
  }
  return 0;
}
