// SPDX-License-Identifier: Apache-2.0
// From a camera frame and a head centre to depth in millimetres: the box, the crop, the network, the depth maps.
//
// Convention: pixel i covers [i, i + 1); the head centre is the projection of the point midway between the ears; the
// distance is the z along the optical axis of the visible surface there, in millimetres; depth likewise.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "facedepth/engine.h"
#include "facedepth/face_crop.h"
#include "facedepth/spec.h"
#include "facedepth/tensor_view.h"

namespace facedepth {

// Where a head is, and the camera's intrinsics.
//   x, y          head centre in pixels of the frame, inside it
//   distance_mm   10 .. 100000
//   fx, fy        focal lengths in pixels, above 0
//   cx, cy        the optical axis in pixels of the frame; NaN: the middle of the frame
struct HeadPosition {
  double x = 0.0;
  double y = 0.0;
  double distance_mm = 0.0;
  double fx = 0.0;
  double fy = 0.0;
  double cx = std::numeric_limits<double>::quiet_NaN();
  double cy = std::numeric_limits<double>::quiet_NaN();
};

// The box around a head (equation 6 of the paper): w = fx * reach_x_mm / distance_mm, h alike, centred on the head.
[[gnu::visibility("default")]] Box box_from_head(const HeadPosition& head, double reach_x_mm, double reach_y_mm);

// One face. Maps are (height, width), dense, row by row.
struct FaceDepth {
  std::int32_t width = 0;
  std::int32_t height = 0;
  std::vector<float> depth_mm;
  std::vector<float> relative;     // along the optical axis, -1 .. 1: (depth_mm - the head's) / half_range_mm
  std::vector<std::uint8_t> mask;  // 1 on the head; 0 where the box reaches outside the frame
  Box box;
  HeadPosition head;             // as given; cx and cy are numbers
  float validity = -1.0F;        // the network's probability of a usable face; -1 where the model has none
  double face_seen = -1.0;       // share of the face's place that the mask calls head; -1 without a mask output
  double contrast_levels = 0.0;  // standard deviation of the crop in gray levels, 0 .. 127.5
  bool valid = false;
  const char* reason = "";  // why not valid, in one sentence; empty where it is
};

// Runs one model on frames. One object a thread. predict() allocates nothing once it has seen the widest frame and the
// largest box.
class [[gnu::visibility("default")]] FaceDepthPipeline {
 public:
  FaceDepthPipeline(ModelSpec spec, std::unique_ptr<Engine> engine);

  // Returns the depth of one face: this object's own, overwritten by its next call. A face that the model finds
  // unusable gives a result that is not valid. Throws Error: input where the frame or the position breaks a rule.
  const FaceDepth& predict(const FrameView& frame, const HeadPosition& head);

  const ModelSpec& spec() const noexcept { return spec_; }
  const Engine& engine() const noexcept { return *engine_; }

 private:
  ModelSpec spec_;
  std::unique_ptr<Engine> engine_;
  std::vector<std::uint8_t> place_;  // 1 where a face is looked for
  std::int64_t place_pixels_ = 0;
  std::vector<float> along_axis_;  // empty where the network gives that itself
  std::vector<float> nearness_;    // -z, with which a model along the ray without a mask output is masked; else empty
  FaceDepth found_;
};

// Reads a whole file. Throws Error of the kind artifact.
[[gnu::visibility("default")]] std::string read_file(const std::string& path);

}  // namespace facedepth
