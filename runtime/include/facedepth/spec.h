// SPDX-License-Identifier: Apache-2.0
// What the files beside a model say: spec.json of the model, and the metadata of a TensorRT plan that was built from
// it. The same rules as ModelSpec in Python: a key that is missing or unknown, or a value that breaks a rule, is an
// error.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace facedepth {

// One file of the model: SHA-256 in lower-case hexadecimal, and size.
struct ModelFile {
  std::string sha256;
  std::int64_t bytes = 0;
};

// A model. Names are those of the graph's input and outputs; an empty name means that the model has no such output.
struct ModelSpec {
  std::string name;
  std::string version;

  std::string input_name;         // (batch, 1, input_height, input_width) float32
  std::int32_t input_width = 0;   // 1 .. 4096
  std::int32_t input_height = 0;  // 1 .. 4096
  std::string depth_name;         // (batch, 1, output_height, output_width) float32 in -1 .. 1, farther is larger
  std::int32_t output_width = 0;
  std::int32_t output_height = 0;
  std::string mask_name;      // the same shape: probability of the head
  double mask_threshold = 0;  // of the probability; without a mask output, of the network's z: head is below it
  std::string validity_name;  // (batch) or (batch, 1) float32: probability that a usable face is in the box
  double validity_threshold = 0;

  double scale = 0;  // input = scale * gray + offset
  double offset = 0;
  double reach_x_mm = 0;  // the box covers this at the head's distance
  double reach_y_mm = 0;
  double half_range_mm = 0;  // depth_mm = distance_mm + z * half_range_mm
  bool along_ray = false;    // z is along the ray to the head, not along the optical axis

  std::map<std::string, ModelFile> files;
};

// What build-engine writes beside a plan: what it was built from and for.
struct PlanMetadata {
  std::string sha256;  // of the plan
  std::int64_t bytes = 0;
  std::string model_sha256;  // of the ONNX file
  std::string precision;
  std::string tensorrt;  // its version
  std::string gpu;
  std::string compute_capability;  // "8.7"
  std::int64_t multiprocessors = 0;
};

// Read a spec.json, or the .json beside a plan, of up to 16 MiB. where is the file's name, for the error's text.
// Throw Error of the kind artifact.
[[gnu::visibility("default")]] ModelSpec spec_from_json(std::string_view text, const std::string& where);
[[gnu::visibility("default")]] PlanMetadata plan_metadata_from_json(std::string_view text, const std::string& where);

}  // namespace facedepth
