// SPDX-License-Identifier: Apache-2.0
// The way of one frame: box, crop and network by the engine, depth maps.

#include "facedepth/pipeline.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <utility>

#include "facedepth/depth_maps.h"
#include "facedepth/error.h"
#include "face_crop_checks.h"
#include "ray_depth.h"

namespace facedepth {
namespace {

constexpr double kMinDistanceMm = 10.0;
constexpr double kMaxDistanceMm = 100000.0;
// Below this standard deviation there is nothing to see in a crop: a covered lens, a failed flash. As in validity.py.
constexpr double kLeastContrastLevels = 2.5;
// A crop brighter than white by more than rounding.
constexpr double kMostLevels = 1.001 * 255.0;

// The ellipse about the head centre in which a face is looked for, and the share of it that must be head. As in
// face_region.py.
constexpr double kSeenHalfWidthMm = 60.0;
constexpr double kSeenHalfHeightMm = 80.0;
constexpr double kLeastSeen = 0.6;
constexpr double kMostAtBorder = 0.25;
constexpr double kLeastBoxPx = 24.0;
constexpr double kRounding = 1e-6;

[[noreturn]] void refuse(const char* where, double got, const std::string& expected, const char* fix) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", got);
  throw Error(ErrorKind::input, where, text, expected, fix);
}

void check_position(const HeadPosition& head, const FrameView& frame) {
  constexpr const char* kFix = "Give the point midway between the ears, in pixels of this frame.";
  if (!(head.x >= 0.0 && head.x < frame.width)) {
    refuse("head.x", head.x, "0 up to the frame's width (" + std::to_string(frame.width) + ")", kFix);
  }
  if (!(head.y >= 0.0 && head.y < frame.height)) {
    refuse("head.y", head.y, "0 up to the frame's height (" + std::to_string(frame.height) + ")", kFix);
  }
  if (!(head.distance_mm >= kMinDistanceMm && head.distance_mm <= kMaxDistanceMm)) {
    refuse("head.distance_mm", head.distance_mm, "10 to 100000 millimetres", "Give the distance in millimetres.");
  }
  const double focals[2] = {head.fx, head.fy};
  const char* const names[2] = {"head.fx", "head.fy"};
  for (int i = 0; i < 2; ++i) {
    if (!(focals[i] > 0.0 && std::isfinite(focals[i]))) {
      refuse(names[i], focals[i], "a finite number above 0", "Give the camera's focal length in pixels.");
    }
  }
  const double centers[2] = {head.cx, head.cy};
  const char* const center_names[2] = {"head.cx", "head.cy"};
  for (int i = 0; i < 2; ++i) {
    if (std::isinf(centers[i])) {
      refuse(center_names[i], centers[i], "a finite number, or NaN", "Give the optical axis in pixels, or NaN.");
    }
  }
}

// The map's pixels along one side whose centres lie in the frame: the first of them, and the one after the last.
struct Seen {
  bool all_of(std::int32_t pixels) const { return first == 0 && last == pixels; }

  std::int32_t first;
  std::int32_t last;
};

Seen seen_pixels(double start, double end, std::int32_t pixels, std::int32_t frame_pixels) {
  if (start >= 0.0 && end <= frame_pixels) return {0, pixels};
  const double pitch = (end - start) / pixels;
  const auto at = [&](double place) {
    return static_cast<std::int32_t>(std::clamp(std::ceil(place / pitch - 0.5), 0.0, static_cast<double>(pixels)));
  };
  return {at(-start), at(frame_pixels - start)};
}

// Clears the mask where the box reaches outside the frame, which no camera has seen. Returns whether it has pixels there.
bool cut_to_frame(FaceDepth& face, const FrameView& frame) {
  const Seen rows = seen_pixels(face.box.y0, face.box.y1, face.height, frame.height);
  const Seen columns = seen_pixels(face.box.x0, face.box.x1, face.width, frame.width);
  if (rows.all_of(face.height) && columns.all_of(face.width)) return false;
  auto line = face.mask.begin();
  for (std::int32_t row = 0; row < face.height; ++row, line += face.width) {
    const bool seen = row >= rows.first && row < rows.last;
    std::fill(line, line + (seen ? columns.first : face.width), 0);
    if (seen) std::fill(line + columns.last, line + face.width, 0);
  }
  return true;
}

// Of the outermost rows and columns; a head that reaches them is too large for its box.
double share_of_border(const FaceDepth& face) {
  const auto width = static_cast<std::size_t>(face.width);
  const auto height = static_cast<std::size_t>(face.height);
  std::int64_t head = 0;
  std::int64_t pixels = 0;
  for (std::size_t row = 0; row < height; ++row) {
    const bool whole = row == 0 || row + 1 == height;
    for (std::size_t column = 0; column < width; ++column) {
      if (!whole && column != 0 && column + 1 != width) continue;
      head += face.mask[row * width + column];
      ++pixels;
    }
  }
  return static_cast<double>(head) / static_cast<double>(pixels);
}

}  // namespace

Engine::~Engine() = default;

Box box_from_head(const HeadPosition& head, double reach_x_mm, double reach_y_mm) {
  const double half_width = 0.5 * head.fx * reach_x_mm / head.distance_mm;
  const double half_height = 0.5 * head.fy * reach_y_mm / head.distance_mm;
  return {head.x - half_width, head.y - half_height, head.x + half_width, head.y + half_height};
}

FaceDepthPipeline::FaceDepthPipeline(ModelSpec spec, std::unique_ptr<Engine> engine)
    : spec_(std::move(spec)), engine_(std::move(engine)) {
  if (engine_ == nullptr) {
    throw Error(ErrorKind::config, "engine", "null", "an engine", "Open one with open_tensorrt_engine.");
  }
  const std::size_t count =
      static_cast<std::size_t>(spec_.output_width) * static_cast<std::size_t>(spec_.output_height);
  found_.width = spec_.output_width;
  found_.height = spec_.output_height;
  found_.depth_mm.resize(count);
  found_.relative.resize(count);
  found_.mask.resize(count);
  if (spec_.along_ray) along_axis_.resize(count);
  if (spec_.along_ray && spec_.mask_name.empty()) nearness_.resize(count);
  place_.reserve(count);
  for (std::int32_t row = 0; row < found_.height; ++row) {
    const double down = ((row + 0.5) / found_.height - 0.5) * spec_.reach_y_mm / kSeenHalfHeightMm;
    for (std::int32_t column = 0; column < found_.width; ++column) {
      const double across = ((column + 0.5) / found_.width - 0.5) * spec_.reach_x_mm / kSeenHalfWidthMm;
      place_.push_back(down * down + across * across <= 1.0 ? 1 : 0);
      place_pixels_ += place_.back();
    }
  }
}

const FaceDepth& FaceDepthPipeline::predict(const FrameView& frame, const HeadPosition& head) {
  check_frame(frame);
  check_position(head, frame);
  found_.box = box_from_head(head, spec_.reach_x_mm, spec_.reach_y_mm);
  const NetworkOutput output = engine_->run(frame, found_.box);
  const double brightest_level = (output.crop.largest - spec_.offset) / spec_.scale;
  if (brightest_level > kMostLevels) {
    refuse("frame", brightest_level * frame.max_value / 255.0, "pixels of at most frame.max_value",
           "Set max_value to the largest value that the camera can give.");
  }
  const float* depth = output.depth;
  const float* mask_probability = output.mask_probability;
  double mask_threshold = spec_.mask_threshold;
  if (spec_.along_ray) {
    if (mask_probability == nullptr) {  // the threshold is for the network's own z: below it is -z above -threshold
      std::transform(depth, depth + nearness_.size(), nearness_.begin(), std::negate<>());
      mask_probability = nearness_.data();
      mask_threshold = -mask_threshold;
    }
    const double cx = std::isnan(head.cx) ? 0.5 * frame.width : head.cx;
    const double cy = std::isnan(head.cy) ? 0.5 * frame.height : head.cy;
    depth_along_axis(depth, found_.width, found_.height,
                     {(head.x - cx) / head.fx, (head.y - cy) / head.fy, head.distance_mm, spec_.half_range_mm,
                      spec_.reach_x_mm, spec_.reach_y_mm},
                     along_axis_.data());
    depth = along_axis_.data();
  }
  const DepthSummary summary = write_depth_maps({depth, mask_probability, found_.depth_mm.size()},
                                                {head.distance_mm, spec_.half_range_mm, mask_threshold},
                                                {found_.depth_mm.data(), found_.relative.data(), found_.mask.data()});
  // Before the cut: outside the frame the network sees its border again.
  const double at_border = output.mask_probability == nullptr ? 0.0 : share_of_border(found_);
  const bool has_head = cut_to_frame(found_, frame)
                            ? std::find(found_.mask.begin(), found_.mask.end(), 1) != found_.mask.end()
                            : summary.has_head;
  found_.contrast_levels = output.crop.deviation / spec_.scale;
  found_.validity = output.validity == nullptr ? -1.0F : *output.validity;
  found_.face_seen = -1.0;
  if (output.mask_probability != nullptr) {
    std::int64_t seen = 0;
    for (std::size_t i = 0; i < place_.size(); ++i) seen += place_[i] & found_.mask[i];
    found_.face_seen =
        place_pixels_ == 0 ? 1.0 : static_cast<double>(seen) / static_cast<double>(place_pixels_);
  }
  if (!summary.finite) {
    found_.reason = "the network's depth is not finite";
  } else if (!(found_.contrast_levels >= kLeastContrastLevels)) {
    found_.reason = "nothing to see in the box: its contrast is too small";
  } else if (std::min(found_.box.x1 - found_.box.x0, found_.box.y1 - found_.box.y0) < kLeastBoxPx - kRounding) {
    found_.reason = "too few pixels: the head's box is too small in the frame";
  } else if (output.validity != nullptr && !(static_cast<double>(*output.validity) >= spec_.validity_threshold)) {
    found_.reason = found_.face_seen >= kLeastSeen ? "a head turned away, or its face covered: its validity is too small"
                                                   : "no usable face in the box: its validity is too small";
  } else if (!has_head) {
    found_.reason = "no head in the box: the mask is empty";
  } else if (at_border > kMostAtBorder) {
    found_.reason = "the head fills its box, so it is nearer than said";
  } else if (output.mask_probability != nullptr && !(found_.face_seen >= kLeastSeen)) {
    found_.reason =
        "the face is covered, outside the frame, not in the box's middle or farther away than said: too little of its "
        "place is head";
  } else {
    found_.reason = "";
  }
  found_.valid = found_.reason[0] == '\0';
  return found_;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string content;
  char block[1U << 14U];
  while (file.read(block, sizeof(block)), file.gcount() > 0) {
    content.append(block, static_cast<std::size_t>(file.gcount()));
  }
  if (!file.is_open() || file.bad()) {  // bad: what was opened cannot be read, such as a folder
    throw Error(ErrorKind::artifact, path, "nothing", "a file that can be read", "Check the path and the permissions.");
  }
  return content;
}

}  // namespace facedepth
