// SPDX-License-Identifier: Apache-2.0
// head_pose WEIGHTS < FACES: a line for each face, "none", or the pose's numbers in the order of HeadPose.
// A face is width, height, valid, face_seen, x, y, distance_mm, fx, fy, cx, cy, the box's x0, y0, x1, y1, the depth in mm
// and the mask, row by row; all of them numbers between spaces.

#include <facedepth/error.h>
#include <facedepth/head_pose.h>

#include <cstdio>
#include <iostream>
#include <optional>
#include <string>
#include <utility>

int main(int, char** arguments) {
  try {
    facedepth::HeadPoseEstimator opened(facedepth::read_file(arguments[1]), arguments[1]);
    facedepth::HeadPoseEstimator estimator = std::move(opened);
    facedepth::FaceDepth face;
    while (std::cin >> face.width >> face.height >> face.valid >> face.face_seen) {
      for (double* number : {&face.head.x, &face.head.y, &face.head.distance_mm, &face.head.fx, &face.head.fy,
                             &face.head.cx, &face.head.cy, &face.box.x0, &face.box.y0, &face.box.x1, &face.box.y1}) {
        std::cin >> *number;
      }
      const auto pixels = static_cast<std::size_t>(face.width) * static_cast<std::size_t>(face.height);
      face.depth_mm.resize(pixels);
      face.mask.resize(pixels);
      for (float& depth_mm : face.depth_mm) std::cin >> depth_mm;
      for (std::uint8_t& head : face.mask) {
        int value = 0;
        std::cin >> value;
        head = static_cast<std::uint8_t>(value);
      }
      const std::optional<facedepth::HeadPose> pose = estimator.estimate(face);
      if (!pose) {
        std::puts("none");
        continue;
      }
      std::printf("%.12g %.12g %.12g %.12g", pose->yaw_deg, pose->pitch_deg, pose->roll_deg, pose->yaw_seen_deg);
      for (const facedepth::Rotation& rotation : {pose->rotation, pose->rotation_seen}) {
        for (const auto& row : rotation) std::printf(" %.12g %.12g %.12g", row[0], row[1], row[2]);
      }
      std::printf(" %.12g %.12g %.12g\n", pose->position_mm[0], pose->position_mm[1], pose->position_mm[2]);
    }
    return std::cin.eof() ? 0 : 3;
  } catch (const facedepth::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
