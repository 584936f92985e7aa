// SPDX-License-Identifier: Apache-2.0
// What a test sees of the stand-in GPU, and sets.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <string>

namespace facedepth::test {

// The stand-in network's maps.
constexpr int kMapHeight = 12;
constexpr int kMapWidth = 20;

// How often something was asked of the GPU.
struct Counts {
  int uploads = 0;
  std::size_t uploaded_bytes = 0;
  int downloads = 0;
  int kernels = 0;   // launched or recorded; a replay counts as one of replays
  int networks = 0;  // likewise
  int replays = 0;
  int recordings = 0;
  int waits = 0;
  int allocations = 0;
};

struct Gpu {
  Counts counts;
  bool integrated = false;
  bool can_record = true;    // else the network refuses to be recorded
  std::string failing;       // the call that fails once
  int live_allocations = 0;  // of host and GPU
  int live_handles = 0;      // streams, graphs, and what can be replayed
};

// The one GPU. Work on a stream is done when somebody waits for it, not before, so what forgets to wait reads old
// bytes. An address of the GPU is not one that the host can read.
Gpu& gpu();

// Forgets the counts and the settings; the live ones stay.
void reset_gpu();

// Adds work to a stream, or to its recording.
void enqueue(cudaStream_t stream, std::function<void()> work);
bool is_recording(cudaStream_t stream);

// Returns whether the next call of this name was to fail; counts that it did.
bool fails(const char* call);

// Returns what the host has under an address of the GPU, if bytes of it belong to one allocation; else throws.
void* host_of(const void* address, std::size_t bytes);

}  // namespace facedepth::test
