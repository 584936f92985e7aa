// SPDX-License-Identifier: Apache-2.0
// The face crop on the GPU: from the uploaded part of a frame to the network's input, one kernel for all faces.
//
// Steps, as include/facedepth/face_crop.h defines them
//   1 gray level of a pixel: 255 / max_value * (0.114 B + 0.587 G + 0.299 R), ITU-R BT.601; one channel as it is
//   2 each axis by itself, output cell j of n over the box [b0, b1) of length L = b1 - b0, step s = L / n:
//       L > n   the exact mean over [b0 + j s, b0 + (j + 1) s), pixels on its edges counted by the part covered
//       L <= n  linear interpolation between pixel centres at b0 + (j + 1/2) s
//   3 out = scale * gray + offset
//   4 of each output row: mean, sum of squared differences from it, smallest, largest
//
// Layouts, all in device memory, or in host memory that the device reads
//   header      one CropHeader, 8-byte aligned; read anew by each launch, so a captured launch follows it
//   pixels      header.pixels: (height, width, channels) uint8 or uint16, row_bytes from one row to the next; the
//               part of the frame that the boxes need. An edge of this part is either never passed by a box or is the
//               frame's own edge, which is repeated: so this code knows of no frame.
//   out         (faces, out_height, out_width) float32, C-contiguous; overwritten
//   statistics  (faces, out_height, 4) float32, C-contiguous; overwritten
//
// Launch: grid (out_height, faces), one block a row of one face; threads a multiple of 32 up to kMaxThreads; no dynamic
// shared memory. Allocates nothing, waits for nothing. The caller has checked the box and the sizes.
// Positions and sums over rows are double: at pixel 30,000 a float is 0.002 pixels wide. Sums along a row are whole
// numbers below 2^24 for uint8, so float is exact there, and GPUs of the edge have few double units. Accuracy: within
// 0.01 gray level of the steps done in float64.
// The file is compiled where it runs: a cubin of a newer CUDA does not load on an older driver.

struct CropHeader {
  unsigned long long pixels;
  int width;
  int height;
  int channels;        // 3 (B, G, R) or 1 (gray)
  int bytes_a_value;   // 1 (uint8) or 2 (uint16)
  long long row_bytes;
  double level;        // gray levels (0..255) that a pixel value of 1 stands for
  double scale;
  double offset;
  double box[8][4];    // x0, y0, x1, y1 of each face, in pixels from the upper left corner of pixels
};

constexpr int kMaxThreads = 256;

// How an output cell reads one axis: samples first .. last, the edges with their own weights, those between with 1.
struct CropSpan {
  int first;
  int last;
  float first_weight;
  float last_weight;
  double total;  // the sum of all weights
};

__device__ inline int fde_clamp(double value, int high) {
  return value <= 0.0 ? 0 : value >= high ? high : static_cast<int>(value);
}

// Which samples of n an output cell of one axis takes. Samples outside repeat the border: their weight is added to it.
__device__ inline CropSpan fde_span(double start, double end, int cell, int cells, int n) {
  CropSpan span;
  const double step = (end - start) / cells;
  if (step > 1.0) {
    const double low = start + step * cell;
    const double high = start + step * (cell + 1);
    span.first = fde_clamp(floor(low), n - 1);
    span.last = fde_clamp(ceil(high) - 1.0, n - 1);
    if (span.last < span.first) span.last = span.first;
    span.total = step;
    if (span.first == span.last) {
      span.first_weight = static_cast<float>(step);
      span.last_weight = 0.0f;
    } else {
      span.first_weight = static_cast<float>(span.first + 1.0 - low);
      span.last_weight = static_cast<float>(high - span.last);
    }
  } else {
    const double at = start + step * (cell + 0.5) - 0.5;
    const double whole = floor(at);
    span.first = fde_clamp(whole, n - 1);
    span.last = fde_clamp(whole + 1.0, n - 1);
    span.total = 1.0;
    span.last_weight = span.first == span.last ? 0.0f : static_cast<float>(at - whole);
    span.first_weight = 1.0f - span.last_weight;
  }
  return span;
}

// The gray value, not scaled, of one row under a span of columns: the sum of weight times value.
template <typename Value, int kChannels>
__device__ inline float fde_row_sum(const unsigned char* row, const CropSpan& span) {
  const Value* first = reinterpret_cast<const Value*>(row) + static_cast<long long>(span.first) * kChannels;
  const Value* last = reinterpret_cast<const Value*>(row) + static_cast<long long>(span.last) * kChannels;
  float sums[kChannels];
  for (int c = 0; c < kChannels; ++c) sums[c] = 0.0f;
  for (const Value* at = first + kChannels; at < last; at += kChannels) {
    for (int c = 0; c < kChannels; ++c) sums[c] += static_cast<float>(at[c]);
  }
  for (int c = 0; c < kChannels; ++c) {
    sums[c] += span.first_weight * static_cast<float>(first[c]) + span.last_weight * static_cast<float>(last[c]);
  }
  if (kChannels == 1) return sums[0];
  return 0.114f * sums[0] + 0.587f * sums[1 % kChannels] + 0.299f * sums[2 % kChannels];
}

template <typename Value, int kChannels>
__device__ inline double fde_mean(const CropHeader& header, const CropSpan& rows, const CropSpan& columns) {
  const unsigned char* pixels = reinterpret_cast<const unsigned char*>(header.pixels);
  double sum = static_cast<double>(rows.first_weight) *
               fde_row_sum<Value, kChannels>(pixels + rows.first * header.row_bytes, columns);
  for (int row = rows.first + 1; row < rows.last; ++row) {
    sum += fde_row_sum<Value, kChannels>(pixels + row * header.row_bytes, columns);
  }
  if (rows.last > rows.first) {
    sum += static_cast<double>(rows.last_weight) *
           fde_row_sum<Value, kChannels>(pixels + rows.last * header.row_bytes, columns);
  }
  return sum / (rows.total * columns.total);
}

// One output element: steps 1 to 3.
__device__ inline float fde_crop_element(const CropHeader& header, const CropSpan& rows, const CropSpan& columns) {
  double value;
  if (header.bytes_a_value == 1) {
    value = header.channels == 1 ? fde_mean<unsigned char, 1>(header, rows, columns)
                                 : fde_mean<unsigned char, 3>(header, rows, columns);
  } else {
    value = header.channels == 1 ? fde_mean<unsigned short, 1>(header, rows, columns)
                                 : fde_mean<unsigned short, 3>(header, rows, columns);
  }
  return static_cast<float>(value * header.level * header.scale + header.offset);
}

enum class Fold { sum, smallest, largest };

__device__ inline float fde_fold(float a, float b, Fold how) {
  if (how == Fold::sum) return a + b;
  return how == Fold::smallest ? fminf(a, b) : fmaxf(a, b);
}

// Folds one value of each thread into one for all, in an order that is always the same.
__device__ inline float fde_fold_block(float value, Fold how, float* shared) {
  shared[threadIdx.x] = value;
  __syncthreads();
  for (unsigned half = blockDim.x; half > 1;) {
    const unsigned rest = (half + 1) / 2;
    if (threadIdx.x < half - rest) shared[threadIdx.x] = fde_fold(shared[threadIdx.x], shared[threadIdx.x + rest], how);
    half = rest;
    __syncthreads();
  }
  const float folded = shared[0];
  __syncthreads();
  return folded;
}

extern "C" __global__ void fde_face_crop(const CropHeader* header, float* out, float* statistics, int out_width) {
  __shared__ float shared[kMaxThreads];
  const CropHeader& crop = *header;
  const int face = static_cast<int>(blockIdx.y);
  const int out_height = static_cast<int>(gridDim.x);
  const int row = static_cast<int>(blockIdx.x);
  const double* box = crop.box[face];
  const long long index = static_cast<long long>(face) * out_height + row;
  float* line = out + index * out_width;
  const CropSpan rows = fde_span(box[1], box[3], row, out_height, crop.height);

  float sum = 0.0f;
  float smallest = 3.402823466e38f;
  float largest = -3.402823466e38f;
  for (int column = static_cast<int>(threadIdx.x); column < out_width; column += static_cast<int>(blockDim.x)) {
    const CropSpan columns = fde_span(box[0], box[2], column, out_width, crop.width);
    const float element = fde_crop_element(crop, rows, columns);
    line[column] = element;
    sum += element;
    smallest = fminf(smallest, element);
    largest = fmaxf(largest, element);
  }
  const float mean = fde_fold_block(sum, Fold::sum, shared) / static_cast<float>(out_width);
  float squares = 0.0f;
  for (int column = static_cast<int>(threadIdx.x); column < out_width; column += static_cast<int>(blockDim.x)) {
    const float difference = line[column] - mean;  // each thread reads what it wrote itself
    squares += difference * difference;
  }
  squares = fde_fold_block(squares, Fold::sum, shared);
  smallest = fde_fold_block(smallest, Fold::smallest, shared);
  largest = fde_fold_block(largest, Fold::largest, shared);
  if (threadIdx.x == 0) {
    float* found = statistics + index * 4;
    found[0] = mean;
    found[1] = squares;
    found[2] = smallest;
    found[3] = largest;
  }
}
