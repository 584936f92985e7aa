// SPDX-License-Identifier: Apache-2.0
// The face crop: from a camera frame and a real-valued box to the network's input, in one pass.
//
// Steps
//   1 gray level of a pixel: 255 / max_value * (0.114 B + 0.587 G + 0.299 R), ITU-R BT.601; one channel as it is
//   2 each axis by itself, output cell j of n over the box [b0, b1) of length L = b1 - b0, step s = L / n:
//       L > n   the exact mean over [b0 + j s, b0 + (j + 1) s), pixels on its edges counted by the part covered
//       L <= n  linear interpolation between pixel centres at b0 + (j + 1/2) s
//   3 out = scale * gray + offset
//   4 float16: rounded to nearest, ties to even. int8: round(out / int8_step), ties to even, kept in -128 .. 127
//
// Convention: origin at the frame's top left corner, x to the right, y down; pixel i covers [i, i + 1), its centre
// is at i + 1/2; pixels outside the frame repeat its border. The box is never rounded.
// Accuracy: within 0.01 gray level of the steps above done in float64 (before step 4's rounding).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "facedepth/tensor_view.h"

namespace facedepth {

// The part of the frame to sample, in pixels of the frame: finite, |edge| <= 1e6, x1 > x0, y1 > y0.
// It may lie partly or wholly outside the frame.
struct Box {
  double x0 = 0.0;
  double y0 = 0.0;
  double x1 = 0.0;
  double y1 = 0.0;
};

// The numbers of steps 3 and 4; they travel with the weights (spec.json), so there are no defaults.
//   scale, offset  finite, -1e6 .. 1e6
//   int8_step      the quantisation scale of an int8 tensor, 1e-6 .. 1e6; not read for the other types
struct Normalisation {
  double scale;
  double offset;
  double int8_step;
};

// What the elements of a crop are as a whole, taken after step 3, in double, in the same pass; a gray level of it is
// (value - offset) / scale. The deviation is that of the population: the root of the mean squared difference.
struct CropStatistics {
  double mean;
  double deviation;
  double smallest;
  double largest;
};

// Returns the bytes of workspace that crop_face needs for frames of this width and outputs of this width.
// Throws Error for a width or a number of channels outside the limits of tensor_view.h.
[[gnu::visibility("default")]] std::size_t crop_face_workspace_bytes(std::int32_t frame_width, std::int32_t channels,
                                                                     std::int32_t out_width);

// Samples the box of the frame into out and returns its statistics. Allocates nothing, keeps nothing, starts no thread;
// may run on several threads at once, each with its own workspace.
//   out              written once, in whole; must not overlap the frame or the workspace
//   workspace        scratch of the caller, no alignment asked for; overwritten
//   workspace_bytes  at least crop_face_workspace_bytes(frame.width, frame.channels, out.width)
// Throws Error when an argument breaks a rule above; out is untouched then.
[[gnu::visibility("default")]] CropStatistics crop_face(const FrameView& frame, const Box& box,
                                                        const Normalisation& normalisation, const TensorView& out,
                                                        void* workspace, std::size_t workspace_bytes);

// crop_face with a workspace of its own: it grows when a wider frame than ever before comes, and never shrinks, so a
// steady camera causes no allocation after the first frame. One object a thread.
class [[gnu::visibility("default")]] FaceCropper {
 public:
  explicit FaceCropper(const Normalisation& normalisation) noexcept : normalisation_(normalisation) {}

  // Does what crop_face does; throws what it throws, and std::bad_alloc.
  CropStatistics crop(const FrameView& frame, const Box& box, const TensorView& out);

 private:
  Normalisation normalisation_;
  std::vector<unsigned char> workspace_;
};

}  // namespace facedepth
