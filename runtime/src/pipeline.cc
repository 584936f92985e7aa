// SPDX-License-Identifier: Apache-2.0
// The way of one frame: box, crop and network by the engine, depth maps.

#include "facedepth/pipeline.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <optional>
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

// Of the pixels where a face is looked for; 1 where the map is too small to have one.
double share_seen(const std::vector<std::uint8_t>& place, std::int64_t place_pixels,
                  const std::vector<std::uint8_t>& mask) {
  if (place_pixels == 0) return 1.0;
  std::int64_t seen = 0;
  for (std::size_t i = 0; i < place.size(); ++i) seen += place[i] & mask[i];
  return static_cast<double>(seen) / static_cast<double>(place_pixels);
}

// The network's maps, and how to read a mask from them.
struct RawMaps {
  const float* depth;
  const float* mask_probability;  // null: the mask is where depth is below mask_threshold
  double mask_threshold;
};

HeadPosition with_optical_axis(HeadPosition head, const FrameView& frame) {
  if (std::isnan(head.cx)) head.cx = 0.5 * frame.width;
  if (std::isnan(head.cy)) head.cy = 0.5 * frame.height;
  return head;
}

// Turns depth along the ray to the head into depth along the optical axis. Writes to nearness where the model has no
// mask output, and to along_axis; the returned maps point to both.
RawMaps turn_to_axis(RawMaps maps, const ModelSpec& spec, const HeadPosition& head, std::vector<float>& nearness,
                     std::vector<float>& along_axis) {
  if (maps.mask_probability == nullptr) {  // the threshold is for the network's own z: below it is -z above -threshold
    std::transform(maps.depth, maps.depth + nearness.size(), nearness.begin(), std::negate<>());
    maps.mask_probability = nearness.data();
    maps.mask_threshold = -maps.mask_threshold;
  }
  depth_along_axis(maps.depth, spec.output_width, spec.output_height,
                   {(head.x - head.cx) / head.fx, (head.y - head.cy) / head.fy, head.distance_mm, spec.half_range_mm,
                    spec.reach_x_mm, spec.reach_y_mm},
                   along_axis.data());
  maps.depth = along_axis.data();
  return maps;
}

// What is known of one face. As Evidence in validity.py.
struct Evidence {
  bool finite;
  double contrast_levels;
  double side_px;
  std::optional<double> validity;
  bool has_head;
  std::optional<double> at_border;
  std::optional<double> face_seen;
};

// The same rule in the same order as why_not_valid in validity.py. Empty where nothing speaks against the face.
const char* why_not_valid(const Evidence& known, double validity_threshold) {
  if (!known.finite) return "the network's depth is not finite";
  if (!(known.contrast_levels >= kLeastContrastLevels)) return "nothing to see in the box: its contrast is too small";
  if (known.side_px < kLeastBoxPx - kRounding) return "too few pixels: the head's box is too small in the frame";
  const bool seen = known.face_seen && *known.face_seen >= kLeastSeen;
  if (known.validity && !(*known.validity >= validity_threshold)) {
    return seen ? "a head turned away, or its face covered: its validity is too small"
                : "no usable face in the box: its validity is too small";
  }
  if (!known.has_head) return "no head in the box: the mask is empty";
  if (known.at_border && *known.at_border > kMostAtBorder) return "the head fills its box, so it is nearer than said";
  if (known.face_seen && !seen) {
    return "the face is covered, outside the frame, not in the box's middle or farther away than said: too little of "
           "its place is head";
  }
  return "";
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
  const Box box = box_from_head(head, spec_.reach_x_mm, spec_.reach_y_mm);
  const NetworkOutput output = engine_->run(frame, box);
  const double brightest_level = (output.crop.largest - spec_.offset) / spec_.scale;
  if (brightest_level > kMostLevels) {
    refuse("frame", brightest_level * frame.max_value / 255.0, "pixels of at most frame.max_value",
           "Set max_value to the largest value that the camera can give.");
  }
  found_.box = box;  // not before: what refuses a frame leaves the last result as it was
  found_.head = with_optical_axis(head, frame);
  RawMaps maps{output.depth, output.mask_probability, spec_.mask_threshold};
  if (spec_.along_ray) maps = turn_to_axis(maps, spec_, found_.head, nearness_, along_axis_);
  const DepthSummary summary = write_depth_maps({maps.depth, maps.mask_probability, found_.depth_mm.size()},
                                                {head.distance_mm, spec_.half_range_mm, maps.mask_threshold},
                                                {found_.depth_mm.data(), found_.relative.data(), found_.mask.data()});
  const bool own_mask = output.mask_probability != nullptr;
  Evidence known{};
  known.finite = summary.finite;
  known.contrast_levels = output.crop.deviation / spec_.scale;
  known.side_px = std::min(found_.box.x1 - found_.box.x0, found_.box.y1 - found_.box.y0);
  if (output.validity != nullptr) known.validity = *output.validity;
  // Before the cut: outside the frame the network sees its border again.
  if (own_mask) known.at_border = share_of_border(found_);
  known.has_head = cut_to_frame(found_, frame)
                       ? std::find(found_.mask.begin(), found_.mask.end(), 1) != found_.mask.end()
                       : summary.has_head;
  if (own_mask) known.face_seen = share_seen(place_, place_pixels_, found_.mask);
  found_.contrast_levels = known.contrast_levels;
  found_.validity = output.validity == nullptr ? -1.0F : *output.validity;
  found_.face_seen = known.face_seen.value_or(-1.0);
  found_.reason = why_not_valid(known, spec_.validity_threshold);
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
