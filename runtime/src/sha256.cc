// SPDX-License-Identifier: Apache-2.0
// SHA-256 as FIPS 180-4 defines it: blocks of 64 bytes, 64 rounds each.

#include "sha256.h"

#include <array>
#include <cmath>
#include <cstdint>

namespace facedepth {
namespace {

using Words = std::array<std::uint32_t, 8>;

std::uint32_t rotate_right(std::uint32_t word, unsigned by) { return (word >> by) | (word << (32U - by)); }

// The first 32 bits of the fraction of a root of each of the first primes: the standard's definition of its constants.
template <std::size_t kCount>
std::array<std::uint32_t, kCount> root_fractions(long double (*root)(long double)) {
  std::array<std::uint32_t, kCount> words{};
  std::size_t found = 0;
  for (int number = 2; found < kCount; ++number) {
    bool prime = true;
    for (int factor = 2; factor * factor <= number; ++factor) prime = prime && number % factor != 0;
    if (!prime) continue;
    const long double value = root(static_cast<long double>(number));
    words[found++] = static_cast<std::uint32_t>((value - std::floor(value)) * 4294967296.0L);
  }
  return words;
}

void add_block(Words& state, const unsigned char* block) {
  static const auto kRounds = root_fractions<64>([](long double x) { return std::cbrt(x); });
  std::array<std::uint32_t, 64> schedule{};
  for (std::size_t i = 0; i < 16; ++i) {
    schedule[i] = static_cast<std::uint32_t>(block[4 * i]) << 24U |
                  static_cast<std::uint32_t>(block[4 * i + 1]) << 16U |
                  static_cast<std::uint32_t>(block[4 * i + 2]) << 8U | block[4 * i + 3];
  }
  for (std::size_t i = 16; i < 64; ++i) {
    const std::uint32_t a = schedule[i - 15];
    const std::uint32_t b = schedule[i - 2];
    schedule[i] = schedule[i - 16] + (rotate_right(a, 7) ^ rotate_right(a, 18) ^ (a >> 3U)) + schedule[i - 7] +
                  (rotate_right(b, 17) ^ rotate_right(b, 19) ^ (b >> 10U));
  }
  Words w = state;
  for (std::size_t i = 0; i < 64; ++i) {
    const std::uint32_t mixed = rotate_right(w[4], 6) ^ rotate_right(w[4], 11) ^ rotate_right(w[4], 25);
    const std::uint32_t first = w[7] + mixed + ((w[4] & w[5]) ^ (~w[4] & w[6])) + kRounds[i] + schedule[i];
    const std::uint32_t turned = rotate_right(w[0], 2) ^ rotate_right(w[0], 13) ^ rotate_right(w[0], 22);
    const std::uint32_t second = turned + ((w[0] & w[1]) ^ (w[0] & w[2]) ^ (w[1] & w[2]));
    w = {first + second, w[0], w[1], w[2], w[3] + first, w[4], w[5], w[6]};
  }
  for (std::size_t i = 0; i < 8; ++i) state[i] += w[i];
}

}  // namespace

std::string sha256_hex(std::string_view bytes) {
  Words state = root_fractions<8>([](long double x) { return std::sqrt(x); });
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  std::size_t done = 0;
  for (; bytes.size() - done >= 64; done += 64) add_block(state, data + done);
  // What is left, a 1 bit, zeros, and the length in bits: one block or two.
  std::array<unsigned char, 128> tail{};
  const std::size_t left = bytes.size() - done;
  for (std::size_t i = 0; i < left; ++i) tail[i] = data[done + i];
  tail[left] = 0x80;
  const std::size_t end = left + 9 <= 64 ? 64 : 128;
  const std::uint64_t bits = static_cast<std::uint64_t>(bytes.size()) * 8;
  for (std::size_t i = 0; i < 8; ++i) tail[end - 1 - i] = static_cast<unsigned char>(bits >> (8 * i));
  for (std::size_t at = 0; at < end; at += 64) add_block(state, tail.data() + at);
  std::string hex;
  for (const std::uint32_t word : state) {
    for (unsigned shift = 32; shift > 0; shift -= 4) hex.push_back("0123456789abcdef"[(word >> (shift - 4)) & 15U]);
  }
  return hex;
}

}  // namespace facedepth
