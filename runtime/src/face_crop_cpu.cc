// SPDX-License-Identifier: Apache-2.0
// The face crop on the CPU: down the columns first, then along the rows.
//
// Each row of the output blends the rows of the frame that it covers into one row of float sums, channels still
// interleaved (blend_rows), then each output cell is a dot product of its stretch of sums with weights that hold the
// cover of each column, the gray weight of each channel and the normalisation (sum_taps). So gray is never written
// down, and every pixel of the box is read once, twice on the edge between two rows of the output.

#include "face_crop_cpu.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace facedepth::cpu {
namespace {

constexpr double kGrayOfBgr[3] = {0.114, 0.587, 0.299};  // ITU-R BT.601
constexpr double kGrayOfOne[1] = {1.0};
constexpr std::size_t kAlign = 64;

// The pixels that one output cell covers along an axis: first_weight, then ones, then last_weight, times the axis'
// unit. A single pixel (first == last) has first_weight alone.
struct Cover {
  std::int32_t first;
  std::int32_t last;
  double first_weight;
  double last_weight;
};

// One axis of the box over size pixels of the frame, cut into cells of the output.
class Axis {
 public:
  Axis(double begin, double end, std::int32_t cells, std::int32_t size) noexcept
      : begin_(begin), step_((end - begin) / cells), size_(size), shrinks_(end - begin > cells) {}

  // What the weights of a cover have to be multiplied with.
  double unit() const noexcept { return shrinks_ ? 1.0 / step_ : 1.0; }

  Cover cover(std::int32_t cell) const noexcept { return shrinks_ ? mean_cover(cell) : linear_cover(cell); }

 private:
  Cover mean_cover(std::int32_t cell) const noexcept {
    const double begin = begin_ + step_ * cell;
    const double end = begin_ + step_ * (cell + 1);
    const double inner_begin = std::clamp(begin, 0.0, static_cast<double>(size_));
    const double inner_end = std::clamp(end, 0.0, static_cast<double>(size_));
    Cover cover{};
    cover.first = std::min(static_cast<std::int32_t>(inner_begin), size_ - 1);
    cover.last = std::max(static_cast<std::int32_t>(std::ceil(inner_end)) - 1, cover.first);
    // What lies before and behind the frame counts as its border pixel.
    const double before = std::min(end, 0.0) - std::min(begin, 0.0);
    const double behind = std::max(end, static_cast<double>(size_)) - std::max(begin, static_cast<double>(size_));
    if (cover.first == cover.last) {
      cover.first_weight = before + (inner_end - inner_begin) + behind;
    } else {
      cover.first_weight = before + (cover.first + 1 - inner_begin);
      cover.last_weight = (inner_end - cover.last) + behind;
    }
    return cover;
  }

  Cover linear_cover(std::int32_t cell) const noexcept {
    const double position = begin_ + step_ * (cell + 0.5) - 0.5;  // in pixel centres
    const double left = std::floor(position);
    const double last_pixel = size_ - 1;
    Cover cover{};
    cover.first = static_cast<std::int32_t>(std::clamp(left, 0.0, last_pixel));
    cover.last = static_cast<std::int32_t>(std::clamp(left + 1.0, 0.0, last_pixel));
    cover.last_weight = cover.first == cover.last ? 0.0 : position - left;
    cover.first_weight = 1.0 - cover.last_weight;
    return cover;
  }

  double begin_;
  double step_;
  std::int32_t size_;
  bool shrinks_;
};

std::int32_t round_up(std::int32_t value, std::int32_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Where each table lies in the workspace, in floats from its aligned start; all have 4-byte elements.
struct Layout {
  std::size_t sums_stride;
  std::size_t quarters;
  std::size_t rows;
  std::size_t starts;
  std::size_t taps;
  std::size_t weights;
  std::size_t end;

  Layout(std::int32_t frame_width, std::int32_t channels, std::int32_t out_width) noexcept {
    const auto columns = static_cast<std::size_t>(frame_width) * static_cast<std::size_t>(channels);
    const auto cells = static_cast<std::size_t>(out_width);
    constexpr std::size_t kLanes = kMaxLanes;
    constexpr std::size_t kRows = kRowsAtOnce;
    // Behind the sums: a cell's last vector may reach beyond its last tap.
    sums_stride = (columns + kLanes - 1) / kLanes * kLanes + kLanes;
    quarters = sums_stride * kRows;
    rows = quarters + 4 * kRows * cells;
    starts = rows + kRows * cells;
    taps = starts + cells;
    weights = taps + cells;
    // Cells lie side by side: together they touch each column once, and once more on each edge between two cells.
    end = weights + columns + 2 * cells * static_cast<std::size_t>(channels) + kLanes * cells;
  }
};

// The columns that the box touches, and for each cell where its taps start, how many there are, and their weights.
struct Columns {
  std::int32_t first;
  std::int32_t count;
};

Columns plan_columns(const Axis& axis, std::int32_t cells, std::int32_t channels, const double* gray, double gain,
                     std::int32_t lanes, std::int32_t* starts, std::int32_t* taps, float* weights) noexcept {
  const std::int32_t first_column = axis.cover(0).first;
  std::int32_t last_column = first_column;
  float inner[3];
  for (std::int32_t c = 0; c < channels; ++c) inner[c] = static_cast<float>(gain * gray[c]);
  for (std::int32_t cell = 0; cell < cells; ++cell) {
    const Cover cover = axis.cover(cell);
    last_column = std::max(last_column, cover.last);
    starts[cell] = (cover.first - first_column) * channels;
    const std::int32_t used = (cover.last - cover.first + 1) * channels;
    taps[cell] = round_up(used, lanes);
    const std::int32_t behind = used - channels;
    for (std::int32_t tap = channels; tap < behind; tap += channels) {
      for (std::int32_t c = 0; c < channels; ++c) weights[tap + c] = inner[c];
    }
    for (std::int32_t c = 0; c < channels; ++c) {
      weights[behind + c] = static_cast<float>(cover.last_weight * gain * gray[c]);
    }
    for (std::int32_t c = 0; c < channels; ++c) weights[c] = static_cast<float>(cover.first_weight * gain * gray[c]);
    std::fill(weights + used, weights + taps[cell], 0.0F);
    weights += taps[cell];
  }
  return {first_column, last_column - first_column + 1};
}

float float_from_bits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

std::uint32_t bits_from_float(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// IEEE binary16, ties to even, without the branches that would keep the compiler from vectorising it.
std::uint16_t half_from_float(float value) {
  const std::uint32_t bits = bits_from_float(value);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  // Below 2^-14 halves are multiples of 2^-24, which is the spacing of floats from 1/2 on: the addition rounds.
  const std::uint32_t small = bits_from_float(float_from_bits(magnitude) + 0.5F) - bits_from_float(0.5F);
  // Above, drop 13 bits of the fraction with rounding and move the exponent's bias from 127 to 15.
  const std::uint32_t normal = (magnitude + 0xFFFU + ((magnitude >> 13U) & 1U) - (112U << 23U)) >> 13U;
  const std::uint32_t finite = magnitude < (113U << 23U) ? small : normal;
  const std::uint32_t half = magnitude >= 0x477FF000U ? 0x7C00U : finite;  // 65520 and more is infinity
  return static_cast<std::uint16_t>(half | ((bits >> 16U) & 0x8000U));
}

std::int8_t int8_from_float(float value) {
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: floats of this size are whole numbers, so adding it rounds
  const float whole = (std::clamp(value, -128.0F, 127.0F) + kRound) - kRound;
  return static_cast<std::int8_t>(static_cast<std::int32_t>(whole));
}

void store_row(const float* row, const TensorView& out, float int8_gain, unsigned char* target) noexcept {
  const std::int32_t width = out.width;
  switch (out.element_type) {
    case ElementType::float32: std::memcpy(target, row, static_cast<std::size_t>(width) * sizeof(float)); break;
    case ElementType::float16:
      for (std::int32_t x = 0; x < width; ++x) {
        const std::uint16_t half = half_from_float(row[x]);
        std::memcpy(target + 2 * static_cast<std::ptrdiff_t>(x), &half, sizeof(half));
      }
      break;
    case ElementType::int8:
      for (std::int32_t x = 0; x < width; ++x) {
        const std::int8_t quantised = int8_from_float(row[x] * int8_gain);
        std::memcpy(target + x, &quantised, sizeof(quantised));
      }
      break;
  }
}

CropStatistics statistics_from(const Moments& moments, double count, double center) {
  const double mean = moments.sum / count;
  const double variance = std::max(moments.squares / count - mean * mean, 0.0);
  return {center + mean, std::sqrt(variance), moments.smallest, moments.largest};
}

}  // namespace

std::size_t crop_face_workspace_bytes(std::int32_t frame_width, std::int32_t channels,
                                      std::int32_t out_width) noexcept {
  return Layout(frame_width, channels, out_width).end * sizeof(float) + kAlign - 1;
}

CropStatistics crop_face(const FrameView& frame, const Box& box, const Normalisation& normalisation,
                         const TensorView& out, void* workspace, const CropKernels& kernels) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(workspace);
  float* base = static_cast<float*>(
      static_cast<void*>(static_cast<unsigned char*>(workspace) + (kAlign - address % kAlign) % kAlign));
  const Layout layout(frame.width, frame.channels, out.width);
  float* sums = base;
  float* quarters = base + layout.quarters;
  float* rows = base + layout.rows;
  float* weights = base + layout.weights;
  auto* starts = static_cast<std::int32_t*>(static_cast<void*>(base + layout.starts));
  auto* taps = static_cast<std::int32_t*>(static_cast<void*>(base + layout.taps));
  const auto sums_stride = static_cast<std::ptrdiff_t>(layout.sums_stride);

  const Axis across(box.x0, box.x1, out.width, frame.width);
  const Axis down(box.y0, box.y1, out.height, frame.height);
  const double gain = across.unit() * down.unit() * normalisation.scale * 255.0 / frame.max_value;
  const Columns columns = plan_columns(across, out.width, frame.channels, frame.channels == 3 ? kGrayOfBgr : kGrayOfOne,
                                       gain, kernels.lanes, starts, taps, weights);
  const std::int32_t length = columns.count * frame.channels;
  for (std::int32_t i = 0; i < kRowsAtOnce; ++i) std::fill_n(sums + sums_stride * i + length, kMaxLanes, 0.0F);

  const bool wide = frame.pixel_type == PixelType::uint16;
  const CropKernels::BlendRows blend_rows = wide ? kernels.blend_rows_uint16 : kernels.blend_rows_uint8;
  const std::ptrdiff_t pixel_bytes = static_cast<std::ptrdiff_t>(frame.channels) * (wide ? 2 : 1);
  const unsigned char* corner = static_cast<const unsigned char*>(frame.data) + pixel_bytes * columns.first;
  const auto offset = static_cast<float>(normalisation.offset);
  const auto int8_gain =
      static_cast<float>(out.element_type == ElementType::int8 ? 1.0 / normalisation.int8_step : 1.0);
  Moments moments;
  for (std::int32_t y = 0; y < out.height; y += kRowsAtOnce) {
    for (std::int32_t i = 0; i < kRowsAtOnce; ++i) {
      const Cover cover = down.cover(std::min(y + i, out.height - 1));
      blend_rows(corner + frame.row_stride_bytes * cover.first, frame.row_stride_bytes, cover.last - cover.first + 1,
                 static_cast<float>(cover.first_weight), static_cast<float>(cover.last_weight), length,
                 sums + sums_stride * i);
    }
    kernels.sum_taps(sums, sums_stride, starts, taps, weights, offset, out.width, quarters, rows);
    const std::int32_t new_rows = std::min(kRowsAtOnce, out.height - y);
    kernels.add_moments(rows, new_rows * out.width, normalisation.offset, moments);
    for (std::int32_t i = 0; i < new_rows; ++i) {
      store_row(rows + static_cast<std::ptrdiff_t>(out.width) * i, out, int8_gain,
                static_cast<unsigned char*>(out.data) + out.row_stride_bytes * (y + i));
    }
  }
  return statistics_from(moments, static_cast<double>(out.width) * out.height, normalisation.offset);
}

}  // namespace facedepth::cpu
