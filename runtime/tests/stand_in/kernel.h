// SPDX-License-Identifier: Apache-2.0
// The crop's kernel on the host, in place of face_crop_cuda.cu.
#pragma once

namespace facedepth::test {

// Returns whether the kernel is the crop's and may have so many threads in a block.
bool is_crop_launch(const void* kernel, unsigned threads);

// Runs it; the pointers are addresses of the GPU.
void run_crop_kernel(const void* header, void* out, void* statistics, int out_width, int out_height);

}  // namespace facedepth::test
