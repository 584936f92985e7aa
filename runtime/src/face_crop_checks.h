// SPDX-License-Identifier: Apache-2.0
// The rules of the face crop's arguments, for each form of it: checked in face_crop.cc and nowhere else.
#pragma once

#include "facedepth/face_crop.h"

namespace facedepth {

// Throw Error of the kind input.
void check_frame(const FrameView& frame);
void check_box(const Box& box);

// Throws Error of the kind config; element_type is that of the crop.
void check_normalisation(const Normalisation& normalisation, ElementType element_type);

}  // namespace facedepth
