// SPDX-License-Identifier: Apache-2.0
// Reads the .safetensors file that train/head_pose writes: float16 tensors, and the SHA-256 of their bytes.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace facedepth {

struct Tensor {
  std::vector<std::size_t> shape;
  std::vector<float> values;  // the last axis runs fastest
};

// Returns the tensors by name. Throws Error of the kind artifact.
std::map<std::string, Tensor> tensors_from_file(std::string_view content, const std::string& where);

}  // namespace facedepth
