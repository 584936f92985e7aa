// SPDX-License-Identifier: Apache-2.0
// Checks the arguments of the face crop, in this one place, and hands them to the device's code.

#include "facedepth/face_crop.h"

#include <cmath>
#include <cstdio>
#include <string>

#include "face_crop_checks.h"
#include "face_crop_cpu.h"
#include "facedepth/error.h"

namespace facedepth {
namespace {

constexpr std::int32_t kMaxFrameSide = 32768;
constexpr std::int32_t kMaxOutSide = 4096;
constexpr double kMaxBoxEdge = 1e6;
constexpr double kMaxFactor = 1e6;
constexpr double kMinStep = 1e-6;

std::string text_of(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", value);
  return text;
}

void check_channels(std::int32_t channels) {
  if (channels == 1 || channels == 3) return;
  throw Error(ErrorKind::input, "frame.channels", std::to_string(channels), "3 (B, G, R) or 1 (gray)",
              "Convert the frame first.");
}

void check_frame_width(std::int32_t width) {
  if (width >= 1 && width <= kMaxFrameSide) return;
  throw Error(ErrorKind::input, "frame.width", std::to_string(width), "1 to 32768 pixels",
              "Check how the frame was read.");
}

void check_out_width(std::int32_t width) {
  if (width >= 1 && width <= kMaxOutSide) return;
  throw Error(ErrorKind::config, "out.width", std::to_string(width), "1 to 4096 elements",
              "Take the size of the model's input.");
}

void check_out(const TensorView& out) {
  constexpr auto kKind = ErrorKind::config;
  if (out.data == nullptr) {
    throw Error(kKind, "out.data", "null", "the address of row 0", "Give memory for the whole plane.");
  }
  check_out_width(out.width);
  if (out.height < 1 || out.height > kMaxOutSide) {
    throw Error(kKind, "out.height", std::to_string(out.height), "1 to 4096 elements",
                "Take the size of the model's input.");
  }
  std::ptrdiff_t element_bytes = 0;
  switch (out.element_type) {
    case ElementType::float32: element_bytes = 4; break;
    case ElementType::float16: element_bytes = 2; break;
    case ElementType::int8: element_bytes = 1; break;
  }
  if (element_bytes == 0) {
    throw Error(kKind, "out.element_type", std::to_string(static_cast<std::int32_t>(out.element_type)),
                "0 (float32), 1 (float16) or 2 (int8)", "Take the type of the model's input.");
  }
  const std::ptrdiff_t row_bytes = element_bytes * out.width;
  if (out.height > 1 && out.row_stride_bytes < row_bytes) {
    throw Error(kKind, "out.row_stride_bytes", std::to_string(out.row_stride_bytes),
                "at least one row (" + std::to_string(row_bytes) + " bytes)",
                "Give the distance in bytes, not in elements.");
  }
}

void check_workspace(const void* workspace, std::size_t given, std::size_t needed) {
  if (workspace != nullptr && given >= needed) return;
  throw Error(ErrorKind::config, "workspace", workspace == nullptr ? "null" : std::to_string(given) + " bytes",
              "at least " + std::to_string(needed) + " bytes", "Ask crop_face_workspace_bytes for the size.");
}

}  // namespace

void check_frame(const FrameView& frame) {
  constexpr auto kKind = ErrorKind::input;
  if (frame.data == nullptr) {
    throw Error(kKind, "frame.data", "null", "the address of row 0", "Check that the camera gave a frame.");
  }
  check_channels(frame.channels);
  check_frame_width(frame.width);
  if (frame.height < 1 || frame.height > kMaxFrameSide) {
    throw Error(kKind, "frame.height", std::to_string(frame.height), "1 to 32768 pixels",
                "Check how the frame was read.");
  }
  if (frame.pixel_type != PixelType::uint8 && frame.pixel_type != PixelType::uint16) {
    throw Error(kKind, "frame.pixel_type", std::to_string(static_cast<std::int32_t>(frame.pixel_type)),
                "0 (uint8) or 1 (uint16)", "Convert the frame first.");
  }
  const bool wide = frame.pixel_type == PixelType::uint16;
  const std::ptrdiff_t row_bytes = static_cast<std::ptrdiff_t>(frame.width) * frame.channels * (wide ? 2 : 1);
  const std::ptrdiff_t stride = frame.row_stride_bytes;
  if (frame.height > 1 && stride < row_bytes && stride > -row_bytes) {
    throw Error(kKind, "frame.row_stride_bytes", std::to_string(stride),
                "at least one row (" + std::to_string(row_bytes) + " bytes) up or down",
                "Give the distance in bytes, not in pixels.");
  }
  if (!(frame.max_value >= kMinStep && frame.max_value <= (wide ? 65535.0 : 255.0))) {
    throw Error(kKind, "frame.max_value", text_of(frame.max_value),
                wide ? "1e-6 to 65535 for uint16" : "1e-6 to 255 for uint8",
                "Give the pixel value that the camera uses for white.");
  }
}

void check_box(const Box& box) {
  const double edges[4] = {box.x0, box.y0, box.x1, box.y1};
  const char* const names[4] = {"box.x0", "box.y0", "box.x1", "box.y1"};
  for (int i = 0; i < 4; ++i) {
    if (std::isfinite(edges[i]) && std::fabs(edges[i]) <= kMaxBoxEdge) continue;
    throw Error(ErrorKind::input, names[i], text_of(edges[i]), "a finite number of pixels, -1e6 to 1e6",
                "Check the head centre and the distance.");
  }
  for (int i = 0; i < 2; ++i) {
    if (edges[i + 2] > edges[i]) continue;
    throw Error(ErrorKind::input, names[i + 2], text_of(edges[i + 2]),
                std::string("more than ") + names[i] + " (" + text_of(edges[i]) + ")",
                "Check the order of the box's edges and the distance.");
  }
}

void check_normalisation(const Normalisation& normalisation, ElementType element_type) {
  const double factors[2] = {normalisation.scale, normalisation.offset};
  const char* const names[2] = {"normalisation.scale", "normalisation.offset"};
  for (int i = 0; i < 2; ++i) {
    if (std::isfinite(factors[i]) && std::fabs(factors[i]) <= kMaxFactor) continue;
    throw Error(ErrorKind::config, names[i], text_of(factors[i]), "a finite number, -1e6 to 1e6",
                "Take the value from the model's spec.json.");
  }
  const double step = normalisation.int8_step;
  if (element_type == ElementType::int8 && !(step >= kMinStep && step <= kMaxFactor)) {
    throw Error(ErrorKind::config, "normalisation.int8_step", text_of(step), "a number from 1e-6 to 1e6 for int8",
                "Take the quantisation scale of the model's input.");
  }
}

std::size_t crop_face_workspace_bytes(std::int32_t frame_width, std::int32_t channels, std::int32_t out_width) {
  check_frame_width(frame_width);
  check_channels(channels);
  check_out_width(out_width);
  return cpu::crop_face_workspace_bytes(frame_width, channels, out_width);
}

CropStatistics crop_face(const FrameView& frame, const Box& box, const Normalisation& normalisation,
                         const TensorView& out, void* workspace, std::size_t workspace_bytes) {
  check_frame(frame);
  check_box(box);
  check_out(out);
  check_normalisation(normalisation, out.element_type);
  check_workspace(workspace, workspace_bytes, cpu::crop_face_workspace_bytes(frame.width, frame.channels, out.width));
  return cpu::crop_face(frame, box, normalisation, out, workspace, cpu::crop_kernels_at(cpu::count_crop_kernels() - 1));
}

CropStatistics FaceCropper::crop(const FrameView& frame, const Box& box, const TensorView& out) {
  const std::size_t needed = crop_face_workspace_bytes(frame.width, frame.channels, out.width);
  if (workspace_.size() < needed) workspace_.resize(needed);
  return crop_face(frame, box, normalisation_, out, workspace_.data(), workspace_.size());
}

}  // namespace facedepth
