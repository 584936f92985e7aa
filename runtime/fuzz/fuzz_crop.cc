// SPDX-License-Identifier: Apache-2.0
// Any arguments: the crop refuses them by an Error and writes nothing, or fills the whole plane and nothing beside it.
// Frame, plane and workspace are exactly as large as they have to be, so that the sanitizers see every byte too many.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "facedepth/error.h"
#include "facedepth/face_crop.h"

namespace {

using namespace facedepth;

// Takes values off the front of the fuzzer's bytes; zeros when they are used up.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  template <typename Value>
  Value take() {
    Value value{};
    const std::size_t count = std::min(sizeof(Value), size_);
    std::memcpy(&value, data_, count);
    data_ += count;
    size_ -= count;
    return value;
  }

  std::int32_t below(std::uint32_t limit) { return static_cast<std::int32_t>(take<std::uint32_t>() % limit); }

  // Mostly a number near a frame's size, sometimes any bits at all.
  double number() {
    const std::uint8_t kind = take<std::uint8_t>();
    if (kind < 16) return take<double>();
    return static_cast<double>(take<std::int16_t>()) / 64.0;
  }

  void fill(std::vector<unsigned char>& target) const {
    for (std::size_t i = 0; i < target.size(); ++i) target[i] = size_ == 0 ? 0 : data_[i % size_];
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

void require(bool right) {
  if (!right) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  FrameView frame;
  frame.width = bytes.below(300);
  frame.height = bytes.below(200);
  frame.channels = bytes.below(8) == 0 ? bytes.below(5) : 1 + 2 * bytes.below(2);
  frame.pixel_type = static_cast<PixelType>(bytes.below(16) == 0 ? bytes.below(4) : bytes.below(2));
  const bool wide = frame.pixel_type == PixelType::uint16;
  const std::int32_t pad = bytes.below(7);
  const std::ptrdiff_t row_bytes = static_cast<std::ptrdiff_t>(frame.width) * frame.channels * (wide ? 2 : 1);
  frame.row_stride_bytes = row_bytes + pad;
  frame.max_value = bytes.below(4) == 0 ? bytes.number() : (wide ? 4095.0 : 255.0);
  const auto rows = static_cast<std::ptrdiff_t>(std::max(frame.height, 1));
  std::vector<unsigned char> pixels(static_cast<std::size_t>(frame.row_stride_bytes * (rows - 1) + row_bytes));
  frame.data = pixels.empty() ? nullptr : pixels.data();
  if (bytes.below(2) == 1 && !pixels.empty()) {  // rows that go upwards
    frame.data = pixels.data() + frame.row_stride_bytes * (rows - 1);
    frame.row_stride_bytes = -frame.row_stride_bytes;
  }

  TensorView out;
  out.width = bytes.below(120);
  out.height = bytes.below(40);
  out.element_type = static_cast<ElementType>(bytes.below(16) == 0 ? bytes.below(5) : bytes.below(3));
  const std::ptrdiff_t element = out.element_type == ElementType::float32   ? 4
                                 : out.element_type == ElementType::float16 ? 2
                                                                            : 1;
  out.row_stride_bytes = out.width * element + bytes.below(5);
  const auto out_rows = static_cast<std::ptrdiff_t>(std::max(out.height, 1));
  std::vector<unsigned char> plane(
      static_cast<std::size_t>(out.row_stride_bytes * (out_rows - 1) + out.width * element), 0xA5);
  out.data = plane.empty() ? nullptr : plane.data();

  const double x0 = bytes.number();
  const double y0 = bytes.number();
  const Box box{x0, y0, x0 + bytes.number(), y0 + bytes.number()};
  Normalisation normalisation{1.0 / 127.5, -1.0, 1.0 / 127.0};
  if (bytes.below(4) == 0) normalisation = {bytes.number(), bytes.number(), bytes.number()};
  bytes.fill(pixels);

  std::vector<unsigned char> workspace;
  try {
    workspace.resize(crop_face_workspace_bytes(frame.width, frame.channels, out.width));
    const CropStatistics found = crop_face(frame, box, normalisation, out, workspace.data(), workspace.size());
    require(std::isfinite(found.mean) && found.deviation >= 0.0 && found.smallest <= found.largest);
  } catch (const Error&) {
    for (const unsigned char byte : plane) require(byte == 0xA5);
  }
  return 0;
}
