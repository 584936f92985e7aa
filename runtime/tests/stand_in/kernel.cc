// SPDX-License-Identifier: Apache-2.0
// The crop's kernel on the host: the file of the GPU itself, as the tests of Python run it.
#include "kernel.h"

#include <cstddef>
#include <cstdint>

#include "../../../tests/fake_gpu/kernel_host.cc"
#include "face_crop_cuda.h"
#include "gpu.h"

static_assert(facedepth::cuda::is_crop_header<::CropHeader>(), "CropHeader differs between C++ and the kernel");
static_assert(facedepth::cuda::kMaxThreads == ::kMaxThreads, "kMaxThreads differs between C++ and the kernel");

namespace facedepth::cuda {

const void* face_crop_kernel() noexcept { return reinterpret_cast<const void*>(&fde_face_crop); }

}  // namespace facedepth::cuda

namespace facedepth::test {

bool is_crop_launch(const void* kernel, unsigned threads) {
  return kernel == cuda::face_crop_kernel() && threads % 32 == 0 && threads >= 32 && threads <= kMaxThreads;
}

void run_crop_kernel(const void* header, void* out, void* statistics, int out_width, int out_height) {
  ::CropHeader told = *static_cast<const ::CropHeader*>(host_of(header, sizeof(::CropHeader)));
  const auto bytes = static_cast<std::size_t>(told.row_bytes) * static_cast<std::size_t>(told.height);
  told.pixels = reinterpret_cast<std::uintptr_t>(host_of(reinterpret_cast<const void*>(told.pixels), bytes));
  const std::size_t rows = static_cast<std::size_t>(out_height);
  auto* const face = static_cast<float*>(host_of(out, rows * static_cast<std::size_t>(out_width) * sizeof(float)));
  auto* const found = static_cast<float*>(host_of(statistics, rows * cuda::kRowStatistics * sizeof(float)));
  fake_launch(&told, face, found, out_width, static_cast<unsigned>(out_height), 1, 1);
}

}  // namespace facedepth::test
