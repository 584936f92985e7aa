// SPDX-License-Identifier: Apache-2.0
// How a head is turned, by its depth map and mask: a small network of its own, which sees no picture. The same weights
// and the same rules as DepthResult.head_pose() in Python.
//
// Convention: the camera's axes, x right, y down, z forward; angles in degrees, lengths in millimetres.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "facedepth/pipeline.h"

namespace facedepth {

using Rotation = std::array<std::array<double, 3>, 3>;  // its rows

// How a head is turned, and where it is.
//   yaw_deg        above 0 the face looks to the right; 0 looks against the optical axis
//   pitch_deg      above 0 it looks down
//   roll_deg       above 0 the head's top leans to the right of the picture
//   yaw_seen_deg   as yaw_deg, but from looking into the camera, wherever in the picture the head is
//   rotation       the head's own axes in the camera's: Rz(roll) Ry(-yaw) Rx(pitch)
//   rotation_seen  the same in the axes of a camera that is turned towards the head
//   position_mm    the point midway between the ears, by the head's distance
struct HeadPose {
  double yaw_deg;
  double pitch_deg;
  double roll_deg;
  double yaw_seen_deg;
  Rotation rotation;
  Rotation rotation_seen;
  std::array<double, 3> position_mm;
};

// Holds the weights. One object a thread.
class [[gnu::visibility("default")]] HeadPoseEstimator {
 public:
  // Takes the content of head_pose.safetensors, which lies beside the models of the Python package. where is its name,
  // for the error's text. Throws Error of the kind artifact.
  HeadPoseEstimator(std::string_view content, const std::string& where);
  HeadPoseEstimator(HeadPoseEstimator&& other) noexcept;
  HeadPoseEstimator& operator=(HeadPoseEstimator&& other) noexcept;
  ~HeadPoseEstimator();

  // Returns nothing where the face is not valid, where its model has no mask output, where 12 does not divide the sides
  // of its maps, and where its depth is not finite. Allocates nothing.
  std::optional<HeadPose> estimate(const FaceDepth& face);

 private:
  struct Network;
  std::unique_ptr<Network> network_;
};

}  // namespace facedepth
