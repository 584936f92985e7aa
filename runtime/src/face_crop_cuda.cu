// SPDX-License-Identifier: Apache-2.0
// Compiles the kernel into the library, and holds its file against face_crop_cuda.h.

#include "../cuda/face_crop.cu"
#include "face_crop_cuda.h"

static_assert(facedepth::cuda::is_crop_header<::CropHeader>(), "CropHeader differs between C++ and the kernel");
static_assert(facedepth::cuda::kMaxThreads == ::kMaxThreads, "kMaxThreads differs between C++ and the kernel");

namespace facedepth::cuda {

const void* face_crop_kernel() noexcept { return reinterpret_cast<const void*>(&fde_face_crop); }

}  // namespace facedepth::cuda
