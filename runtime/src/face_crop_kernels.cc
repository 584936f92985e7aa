// SPDX-License-Identifier: Apache-2.0
// The inner loops of the face crop, written once and compiled for several instruction sets.
//
// blend_rows is a plain loop over columns that the compiler turns into vectors; up to nine rows are read in a pass,
// so that sums are written once. Between the two edge rows it adds in integers, which is exact; only the edges' weights
// are floating point. sum_taps is a dot product a cell, because the taps of a cell lie side by side whatever
// the number of channels: the gray weight of a channel is part of its tap's weight.

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "face_crop_cpu.h"

namespace facedepth::cpu {
namespace {

// Inlined by force, so that a loop is compiled for the instruction set of the function that it ends up in.
#define FDE_INLINE inline __attribute__((always_inline))

template <typename Pixel>
FDE_INLINE Pixel pixel_at(const unsigned char* row, std::ptrdiff_t k) {
  Pixel pixel;
  std::memcpy(&pixel, row + k * static_cast<std::ptrdiff_t>(sizeof(Pixel)), sizeof(Pixel));
  return pixel;
}

// A walk along the columns takes fewer than this many rows between the edge rows.
constexpr std::int32_t kWalkRows = 8;

// The type that rows are added up in, and how many of the largest pixels it holds.
template <typename Pixel>
using SumOf = std::conditional_t<sizeof(Pixel) == 1, std::uint16_t, std::int32_t>;
template <typename Pixel>
constexpr std::int32_t kSumRows = sizeof(Pixel) == 1 ? 256 : 32768;

// The rows of blend_rows, as CropKernels describes them.
struct Rows {
  const unsigned char* first;
  const unsigned char* last;
  std::ptrdiff_t stride_bytes;
  float first_weight;
  float last_weight;
};

// Writes the blend of the two edge rows and of kCount rows from row on.
template <typename Pixel, int kCount>
FDE_INLINE void walk_columns(const Rows& rows, const unsigned char* row, std::int32_t length, float* __restrict sums) {
  const Rows edges = rows;  // a copy cannot be what sums points to
  for (std::int32_t k = 0; k < length; ++k) {
    SumOf<Pixel> total = 0;
    for (int y = 0; y < kCount; ++y) {
      total = static_cast<SumOf<Pixel>>(total + pixel_at<Pixel>(row + edges.stride_bytes * y, k));
    }
    sums[k] = edges.first_weight * static_cast<float>(pixel_at<Pixel>(edges.first, k)) +
              edges.last_weight * static_cast<float>(pixel_at<Pixel>(edges.last, k)) + static_cast<float>(total);
  }
}

// Adds count rows from row on to sums: the part of a tall cell that a walk leaves.
template <typename Pixel>
FDE_INLINE void add_rows(const unsigned char* row, std::ptrdiff_t stride_bytes, std::int32_t count, std::int32_t length,
                         float* __restrict sums) {
  constexpr std::int32_t kStretch = 64;
  for (std::int32_t done = 0; done < count; done += kSumRows<Pixel>) {
    const std::int32_t end = std::min(count, done + kSumRows<Pixel>);
    for (std::int32_t k = 0; k < length; k += kStretch) {
      const std::int32_t columns = std::min(kStretch, length - k);
      SumOf<Pixel> total[kStretch] = {};
      for (std::int32_t y = done; y < end; ++y) {
        const unsigned char* pixels = row + stride_bytes * y + static_cast<std::ptrdiff_t>(sizeof(Pixel)) * k;
        for (std::int32_t i = 0; i < columns; ++i) {
          total[i] = static_cast<SumOf<Pixel>>(total[i] + pixel_at<Pixel>(pixels, i));
        }
      }
      for (std::int32_t i = 0; i < columns; ++i) sums[k + i] += static_cast<float>(total[i]);
    }
  }
}

template <int kBytes>
struct FloatVector {
  typedef float type __attribute__((vector_size(kBytes)));
};
template <int kBytes>
using Vector = typename FloatVector<kBytes>::type;

template <int kBytes>
FDE_INLINE void load_into(Vector<kBytes>& vector, const float* source) {
  std::memcpy(&vector, source, kBytes);
}

// Adds the halves of a vector until four lanes are left.
template <int kBytes>
FDE_INLINE void fold_into(float* quarters, const Vector<kBytes>& vector) {
  if constexpr (kBytes == 16) {
    std::memcpy(quarters, &vector, kBytes);
  } else {
    Vector<kBytes / 2> half[2];
    std::memcpy(half, &vector, kBytes);
    const Vector<kBytes / 2> sum = half[0] + half[1];
    fold_into<kBytes / 2>(quarters, sum);
  }
}

struct PlainLoops {
  template <typename Pixel, int kCount>
  static FDE_INLINE void walk(const Rows& rows, const unsigned char* row, std::int32_t length, float* sums) {
    walk_columns<Pixel, kCount>(rows, row, length, sums);
  }

  // quarters: (kRowsAtOnce, cells, 4) floats, four partial sums a cell.
  template <int kBytes>
  static FDE_INLINE void fold(const Vector<kBytes>* total, std::int32_t cell, std::int32_t cells, float* quarters) {
    for (int row = 0; row < kRowsAtOnce; ++row) fold_into<kBytes>(quarters + 4 * (cells * row + cell), total[row]);
  }

  static FDE_INLINE void finish(const float* __restrict quarters, std::int32_t cells, float offset,
                                float* __restrict out) {
    for (std::int32_t i = 0; i < kRowsAtOnce * cells; ++i) {
      const float* quarter = quarters + 4 * i;
      out[i] = offset + ((quarter[0] + quarter[1]) + (quarter[2] + quarter[3]));
    }
  }
};

#if defined(__x86_64__)
#define FDE_AVX2 __attribute__((target("avx2,fma")))

FDE_AVX2 inline __m256 load_bytes_as_floats(const unsigned char* bytes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes))));
}

FDE_AVX2 inline __m256i load_bytes_as_words(const unsigned char* bytes) {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
}

FDE_AVX2 inline __m256 floats_from_words(__m128i words) { return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(words)); }

// walk_columns for uint8, 32 columns at a time, by hand: GCC 12 widens bytes with two and a half times the shuffles,
// and the whole crop of a 509 px box takes 83 us instead of 57.
template <int kCount>
FDE_AVX2 void walk_bytes_avx2(const Rows& rows, const unsigned char* row, std::int32_t length, float* sums) {
  const __m256 first_weight = _mm256_set1_ps(rows.first_weight);
  const __m256 last_weight = _mm256_set1_ps(rows.last_weight);
  std::int32_t k = 0;
  for (; k + 32 <= length; k += 32) {
    __m256i low = _mm256_setzero_si256();
    __m256i high = _mm256_setzero_si256();
    for (int y = 0; y < kCount; ++y) {
      low = _mm256_add_epi16(low, load_bytes_as_words(row + rows.stride_bytes * y + k));
      high = _mm256_add_epi16(high, load_bytes_as_words(row + rows.stride_bytes * y + k + 16));
    }
    const __m128i words[4] = {_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1),
                              _mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1)};
    for (int part = 0; part < 4; ++part) {
      const std::int32_t at = k + 8 * part;
      __m256 sum = floats_from_words(words[part]);
      sum = _mm256_fmadd_ps(first_weight, load_bytes_as_floats(rows.first + at), sum);
      sum = _mm256_fmadd_ps(last_weight, load_bytes_as_floats(rows.last + at), sum);
      _mm256_storeu_ps(sums + at, sum);
    }
  }
  const Rows rest{rows.first + k, rows.last + k, rows.stride_bytes, rows.first_weight, rows.last_weight};
  walk_columns<std::uint8_t, kCount>(rest, row + k, length - k, sums + k);
}

// quarters: (cells, kRowsAtOnce) floats, the whole sums. Horizontal adds of four rows at once cost a third of folding
// each by itself: the whole crop of a 509 px box takes 53 us instead of 61.
FDE_AVX2 inline void fold_rows_avx2(const Vector<32>* total, float* quarters) {
  __m256 rows[kRowsAtOnce];
  std::memcpy(rows, total, sizeof(rows));
  const __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(rows[0], rows[1]), _mm256_hadd_ps(rows[2], rows[3]));
  _mm_storeu_ps(quarters, _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
}

FDE_AVX2 inline void transpose_rows_avx2(const float* quarters, std::int32_t cells, float offset, float* out) {
  const __m128 offsets = _mm_set1_ps(offset);
  std::int32_t cell = 0;
  for (; cell + 4 <= cells; cell += 4) {
    __m128 block[kRowsAtOnce];
    for (int i = 0; i < 4; ++i) block[i] = _mm_add_ps(offsets, _mm_loadu_ps(quarters + 4 * (cell + i)));
    _MM_TRANSPOSE4_PS(block[0], block[1], block[2], block[3]);
    for (int row = 0; row < kRowsAtOnce; ++row) _mm_storeu_ps(out + cells * row + cell, block[row]);
  }
  for (; cell < cells; ++cell) {
    for (int row = 0; row < kRowsAtOnce; ++row) out[cells * row + cell] = offset + quarters[4 * cell + row];
  }
}

struct Avx2Loops {
  template <typename Pixel, int kCount>
  static FDE_INLINE void walk(const Rows& rows, const unsigned char* row, std::int32_t length, float* sums) {
    if constexpr (sizeof(Pixel) == 1) {
      walk_bytes_avx2<kCount>(rows, row, length, sums);
    } else {
      walk_columns<Pixel, kCount>(rows, row, length, sums);
    }
  }

  template <int kBytes>
  static FDE_INLINE void fold(const Vector<kBytes>* total, std::int32_t cell, std::int32_t, float* quarters) {
    fold_rows_avx2(total, quarters + kRowsAtOnce * cell);
  }

  static FDE_INLINE void finish(const float* quarters, std::int32_t cells, float offset, float* out) {
    transpose_rows_avx2(quarters, cells, offset, out);
  }
};
#endif

template <typename Loops, typename Pixel>
FDE_INLINE void blend_rows(const unsigned char* first, std::ptrdiff_t row_stride_bytes, std::int32_t count,
                           float first_weight, float last_weight, std::int32_t length, float* sums) {
  const Rows rows{first, first + row_stride_bytes * (count - 1), row_stride_bytes, first_weight,
                  count == 1 ? 0.0F : last_weight};
  const std::int32_t between = std::max(count - 2, 0);
  const unsigned char* row = between > 0 ? first + row_stride_bytes : first;  // a single row's stride may be anything
  switch (between % kWalkRows) {
    case 0: Loops::template walk<Pixel, 0>(rows, row, length, sums); break;
    case 1: Loops::template walk<Pixel, 1>(rows, row, length, sums); break;
    case 2: Loops::template walk<Pixel, 2>(rows, row, length, sums); break;
    case 3: Loops::template walk<Pixel, 3>(rows, row, length, sums); break;
    case 4: Loops::template walk<Pixel, 4>(rows, row, length, sums); break;
    case 5: Loops::template walk<Pixel, 5>(rows, row, length, sums); break;
    case 6: Loops::template walk<Pixel, 6>(rows, row, length, sums); break;
    default: Loops::template walk<Pixel, 7>(rows, row, length, sums); break;
  }
  const std::int32_t walked = between % kWalkRows;
  add_rows<Pixel>(row + row_stride_bytes * walked, row_stride_bytes, between - walked, length, sums);
}

template <typename Loops, int kBytes>
FDE_INLINE void sum_taps(const float* sums, std::ptrdiff_t sums_stride, const std::int32_t* starts,
                         const std::int32_t* taps, const float* weights, float offset, std::int32_t cells,
                         float* __restrict quarters, float* __restrict out) {
  constexpr std::int32_t kLanes = kBytes / 4;
  static_assert(kLanes <= kMaxLanes, "the workspace has room for a vector behind the sums and weights");
  for (std::int32_t i = 0; i < cells; ++i) {
    const float* source = sums + starts[i];
    Vector<kBytes> total[kRowsAtOnce] = {};
    for (std::int32_t tap = 0; tap < taps[i]; tap += kLanes) {
      Vector<kBytes> factors;
      load_into<kBytes>(factors, weights + tap);
      for (int row = 0; row < kRowsAtOnce; ++row) {
        Vector<kBytes> values;
        load_into<kBytes>(values, source + sums_stride * row + tap);
        total[row] += values * factors;
      }
    }
    weights += taps[i];
    Loops::template fold<kBytes>(total, i, cells, quarters);
  }
  Loops::finish(quarters, cells, offset, out);
}

template <typename Values>
FDE_INLINE Values smaller_of(const Values& a, const Values& b) {
  return a < b ? a : b;
}

// Adds up in four lanes a vector, two vectors at a time, because the compiler may not reorder sums by itself.
FDE_INLINE void add_moments(const float* values, std::int32_t count, double center, Moments& moments) {
  typedef float Floats __attribute__((vector_size(16)));
  typedef double Doubles __attribute__((vector_size(32)));
  constexpr std::int32_t kLanes = 4;
  constexpr std::int32_t kParts = 2;
  Doubles sums[kParts] = {};
  Doubles squares[kParts] = {};
  Floats smallest = moments.smallest - Floats{};
  Floats negated = -moments.largest - Floats{};
  std::int32_t i = 0;
  for (; i + kParts * kLanes <= count; i += kParts * kLanes) {
    for (std::int32_t part = 0; part < kParts; ++part) {
      Floats at;
      std::memcpy(&at, values + i + kLanes * part, sizeof(at));
      const Doubles distance = __builtin_convertvector(at, Doubles) - center;
      sums[part] += distance;
      squares[part] += distance * distance;
      smallest = smaller_of(smallest, at);
      negated = smaller_of<Floats>(negated, -at);
    }
  }
  for (; i < count; ++i) {
    const double distance = values[i] - center;
    sums[0][0] += distance;
    squares[0][0] += distance * distance;
    smallest[0] = smaller_of<float>(smallest[0], values[i]);
    negated[0] = smaller_of<float>(negated[0], -values[i]);
  }
  for (std::int32_t lane = 0; lane < kLanes; ++lane) {
    moments.sum += sums[0][lane] + sums[1][lane];
    moments.squares += squares[0][lane] + squares[1][lane];
    moments.smallest = smaller_of<float>(moments.smallest, smallest[lane]);
    moments.largest = -smaller_of<float>(-moments.largest, negated[lane]);
  }
}

// Defines the loops for one instruction set, and their table.
#define FDE_KERNELS(NAME, LOOPS, VECTOR_BYTES, TARGET)                                                                 \
  TARGET void blend_rows_uint8_##NAME(const unsigned char* first, std::ptrdiff_t row_stride_bytes, std::int32_t count, \
                                      float first_weight, float last_weight, std::int32_t length, float* sums) {       \
    blend_rows<LOOPS, std::uint8_t>(first, row_stride_bytes, count, first_weight, last_weight, length, sums);          \
  }                                                                                                                    \
  TARGET void blend_rows_uint16_##NAME(const unsigned char* first, std::ptrdiff_t row_stride_bytes,                    \
                                       std::int32_t count, float first_weight, float last_weight, std::int32_t length, \
                                       float* sums) {                                                                  \
    blend_rows<LOOPS, std::uint16_t>(first, row_stride_bytes, count, first_weight, last_weight, length, sums);         \
  }                                                                                                                    \
  TARGET void sum_taps_##NAME(const float* sums, std::ptrdiff_t sums_stride, const std::int32_t* starts,               \
                              const std::int32_t* taps, const float* weights, float offset, std::int32_t cells,        \
                              float* quarters, float* out) {                                                           \
    sum_taps<LOOPS, VECTOR_BYTES>(sums, sums_stride, starts, taps, weights, offset, cells, quarters, out);             \
  }                                                                                                                    \
  TARGET void add_moments_##NAME(const float* values, std::int32_t count, double center, Moments& moments) {           \
    add_moments(values, count, center, moments);                                                                       \
  }                                                                                                                    \
  constexpr CropKernels k_##NAME = {#NAME,                                                                             \
                                    VECTOR_BYTES / 4,                                                                  \
                                    blend_rows_uint8_##NAME,                                                           \
                                    blend_rows_uint16_##NAME,                                                          \
                                    sum_taps_##NAME,                                                                   \
                                    add_moments_##NAME};

FDE_KERNELS(baseline, PlainLoops, 16, )
#if defined(__x86_64__)
FDE_KERNELS(avx2, Avx2Loops, 32, FDE_AVX2)
#endif

struct Runnable {
  std::array<const CropKernels*, 2> kernels{&k_baseline, nullptr};
  std::size_t count = 1;

  Runnable() noexcept {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) kernels[count++] = &k_avx2;
#endif
  }
};

const Runnable& runnable() noexcept {
  static const Runnable found;
  return found;
}

}  // namespace

std::size_t count_crop_kernels() noexcept { return runnable().count; }

const CropKernels& crop_kernels_at(std::size_t index) noexcept { return *runnable().kernels[index]; }

}  // namespace facedepth::cpu
