// SPDX-License-Identifier: Apache-2.0
// The format: 8 bytes, the header's length, little-endian; the header, JSON, which gives each tensor's dtype, shape and
// place; the tensors' bytes. As facedepth_edge/tensor_file.py.

#include "tensor_file.h"

#include <cmath>
#include <cstdint>

#include "facedepth/error.h"
#include "json.h"
#include "sha256.h"

namespace facedepth {
namespace {

constexpr std::size_t kLengthBytes = 8;
constexpr std::size_t kHalfBytes = 2;
constexpr double kMaxWhole = 4294967296.0;  // of sides and places

[[noreturn]] void refuse(const std::string& where, const std::string& got, const std::string& expected) {
  throw Error(ErrorKind::artifact, where, got, expected, "Take the file of the Python package again.");
}

const Json& member(const Json& json, std::string_view key, Json::Kind kind, const std::string& where) {
  const Json* found = json.find(key);
  if (found == nullptr || found->kind != kind) {
    refuse(where, "no " + std::string(key) + " of the right kind", "a .safetensors file of weights");
  }
  return *found;
}

std::size_t whole(const Json& json, const std::string& where) {
  if (json.kind != Json::Kind::number || !(json.number >= 0.0 && json.number <= kMaxWhole) ||
      std::floor(json.number) != json.number) {
    refuse(where, "another value", "a whole number");
  }
  return static_cast<std::size_t>(json.number);
}

float from_half(unsigned low, unsigned high) {
  const unsigned bits = high << 8U | low;
  const int exponent = static_cast<int>(bits >> 10U & 31U);
  const auto fraction = static_cast<float>(bits & 1023U);
  float size;
  if (exponent == 31) {
    size = fraction == 0.0F ? HUGE_VALF : NAN;
  } else {
    size = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024.0F + fraction, exponent - 25);
  }
  return (bits & 0x8000U) != 0U ? -size : size;
}

Tensor read_tensor(const Json& entry, std::string_view data, const std::string& where) {
  if (member(entry, "dtype", Json::Kind::text, where).text != "F16") refuse(where, "another dtype", "F16");
  Tensor tensor;
  std::size_t count = 1;
  for (const Json& side : member(entry, "shape", Json::Kind::array, where).items) {
    tensor.shape.push_back(whole(side, where));
    if (tensor.shape.back() > data.size()) refuse(where, "a side beyond the file", "a shape that fits");
    count *= tensor.shape.back();
    if (count > data.size()) refuse(where, "a shape beyond the file", "a shape that fits");
  }
  const std::vector<Json>& ends = member(entry, "data_offsets", Json::Kind::array, where).items;
  if (ends.size() != 2) refuse(where, std::to_string(ends.size()) + " offsets", "two");
  const std::size_t start = whole(ends[0], where);
  const std::size_t end = whole(ends[1], where);
  if (start > end || end > data.size() || end - start != count * kHalfBytes) {
    refuse(where, "bytes " + std::to_string(start) + " to " + std::to_string(end) + " of " + std::to_string(data.size()),
           std::to_string(count * kHalfBytes) + " bytes in the file");
  }
  tensor.values.reserve(count);
  for (std::size_t at = start; at < end; at += kHalfBytes) {
    tensor.values.push_back(
        from_half(static_cast<unsigned char>(data[at]), static_cast<unsigned char>(data[at + 1])));
  }
  return tensor;
}

}  // namespace

std::map<std::string, Tensor> tensors_from_file(std::string_view content, const std::string& where) {
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes && i < content.size(); ++i) {
    length |= std::uint64_t{static_cast<unsigned char>(content[i])} << 8U * i;
  }
  if (content.size() < kLengthBytes || length == 0 || length > content.size() - kLengthBytes) {
    refuse(where, "a header of " + std::to_string(length) + " bytes in a file of " + std::to_string(content.size()),
           "a .safetensors file of weights");
  }
  const auto header_bytes = static_cast<std::size_t>(length);
  const Json header = json_from_text(content.substr(kLengthBytes, header_bytes), where);
  const std::string_view data = content.substr(kLengthBytes + header_bytes);
  const Json& notes = member(header, "__metadata__", Json::Kind::object, where);
  const Json about = json_from_text(member(notes, "about", Json::Kind::text, where).text, where);
  const std::string& sha256 = member(about, "sha256", Json::Kind::text, where).text;
  const std::string found = sha256_hex(data);
  if (found != sha256) refuse(where, "weights of SHA-256 " + found, sha256 + " as it says itself");
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, entry] : header.members) {
    if (name != "__metadata__") tensors[name] = read_tensor(entry, data, where + ": " + name);
  }
  return tensors;
}

}  // namespace facedepth
