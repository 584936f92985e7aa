// SPDX-License-Identifier: Apache-2.0
// The part of the frame that the box needs goes up behind a header, in one copy, and one kernel crops it. Where the GPU
// shares its memory with the CPU, as on a Jetson, the kernel reads the staged part where it is, and nothing is copied.

#include <algorithm>
#include <utility>

#include "cuda_owners.h"
#include "device_crop.h"
#include "face_crop_checks.h"
#include "face_crop_cuda.h"

namespace facedepth::cuda {
namespace {

// What is set aside at first: a box of 1,180 pixels square in colour.
constexpr std::size_t kFirstRoomBytes = std::size_t{4} << 20U;

bool shares_memory() {
  int integrated = 0;
  check_cuda(cudaDeviceGetAttribute(&integrated, cudaDevAttrIntegrated, current_device()), "cudaDeviceGetAttribute");
  return integrated != 0;
}

class KernelCrop final : public DeviceCrop {
 public:
  KernelCrop(const ModelSpec& spec, void* input, void* statistics)
      : normalisation_{spec.scale, spec.offset, 1.0},
        width_(spec.input_width),
        height_(spec.input_height),
        input_(input),
        statistics_(statistics),
        mapped_(shares_memory()) {
    check_normalisation(normalisation_, ElementType::float32);
    make_room(kFirstRoomBytes);
  }

  bool stage(const FrameView& frame, const Box& box, cudaStream_t stream) override {
    check_frame(frame);
    check_box(box);
    const FramePart part = part_under(frame, box);
    const std::size_t bytes = staged_bytes(part);
    if (bytes > room_bytes_) make_room(bytes + bytes / 2);  // half as much again, so that it happens seldom
    write_staged(frame, box, normalisation_, part, reinterpret_cast<std::uintptr_t>(header_), staging_.get());
    if (!mapped_) {
      check_cuda(cudaMemcpyAsync(header_, staging_.get(), bytes, cudaMemcpyHostToDevice, stream), "cudaMemcpyAsync");
    }
    return std::exchange(moved_, false);  // said once, and not lost where the copy has failed
  }

  void enqueue(cudaStream_t stream) override {
    void* arguments[] = {&header_, &input_, &statistics_, &width_};
    const dim3 grid(static_cast<unsigned>(height_), 1, 1);  // a block for each row
    const dim3 block(static_cast<unsigned>(std::min((width_ + 31) / 32 * 32, kMaxThreads)), 1, 1);
    check_cuda(cudaLaunchKernel(face_crop_kernel(), grid, block, arguments, 0, stream), "cudaLaunchKernel");
  }

  CropStatistics describe(const unsigned char* statistics) const override {
    return statistics_of_rows(reinterpret_cast<const float*>(statistics), height_, width_);
  }

 private:
  void make_room(std::size_t bytes) {
    room_bytes_ = 0;  // until all of it is there
    moved_ = true;
    staging_.reset();
    uploaded_.reset();
    staging_ = allocate_host(bytes, mapped_ ? cudaHostAllocMapped : cudaHostAllocDefault);
    if (mapped_) {
      check_cuda(cudaHostGetDevicePointer(&header_, staging_.get(), 0), "cudaHostGetDevicePointer");
    } else {
      uploaded_ = allocate_device(bytes);
      header_ = uploaded_.get();
    }
    room_bytes_ = bytes;
  }

  Normalisation normalisation_;
  int width_;
  int height_;
  void* input_;
  void* statistics_;
  bool mapped_;
  std::size_t room_bytes_ = 0;
  bool moved_ = false;  // since stage() has said so
  HostMemory staging_;
  DeviceMemory uploaded_;   // none where the memory is shared
  void* header_ = nullptr;  // where the GPU reads what was staged
};

}  // namespace

std::size_t crop_statistics_bytes(const ModelSpec& spec) {
  return static_cast<std::size_t>(spec.input_height) * kRowStatistics * sizeof(float);
}

std::unique_ptr<DeviceCrop> make_device_crop(const ModelSpec& spec, void* input, void* statistics) {
  return std::make_unique<KernelCrop>(spec, input, statistics);
}

}  // namespace facedepth::cuda
