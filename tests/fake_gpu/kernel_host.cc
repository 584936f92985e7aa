// SPDX-License-Identifier: Apache-2.0
// Runs runtime/cuda/face_crop.cu on the host: one thread of the machine for each thread of a block.
#include <pthread.h>

#include <cmath>
#include <thread>
#include <vector>

#define __device__
#define __global__
#define __shared__ static

struct Index {
  unsigned x = 0;
  unsigned y = 0;
};

static thread_local Index threadIdx;
static Index blockIdx;
static Index blockDim;
static Index gridDim;
static pthread_barrier_t barrier;

static void __syncthreads() {
  if (blockDim.x > 1) pthread_barrier_wait(&barrier);
}

using std::ceil;
using std::floor;

#include KERNEL_SOURCE

extern "C" unsigned long long fake_header_bytes() { return sizeof(CropHeader); }

extern "C" void fake_launch(const void* header, float* out, float* statistics, int out_width, unsigned out_height,
                            unsigned faces, unsigned threads) {
  gridDim = {out_height, faces};
  blockDim = {threads, 1};
  pthread_barrier_init(&barrier, nullptr, threads);
  for (blockIdx.y = 0; blockIdx.y < faces; ++blockIdx.y) {
    for (blockIdx.x = 0; blockIdx.x < out_height; ++blockIdx.x) {
      const auto work = [&](unsigned index) {
        threadIdx.x = index;
        fde_face_crop(static_cast<const CropHeader*>(header), out, statistics, out_width);
      };
      if (threads == 1) {
        work(0);
        continue;
      }
      std::vector<std::thread> block;
      for (unsigned index = 0; index < threads; ++index) block.emplace_back(work, index);
      for (std::thread& each : block) each.join();
    }
  }
  pthread_barrier_destroy(&barrier);
}
