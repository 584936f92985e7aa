// SPDX-License-Identifier: Apache-2.0
// Reads a plan and holds it against its metadata, the model and the device.

#include "plan_file.h"

#include <algorithm>

#include "facedepth/error.h"
#include "facedepth/pipeline.h"
#include "sha256.h"

namespace facedepth {
namespace {

constexpr const char* kFix = "Build it again on this device with facedepth-edge build-engine.";

void require(bool right, const std::string& where, const std::string& got, const std::string& expected,
             const std::string& fix = kFix) {
  if (!right) throw Error(ErrorKind::artifact, where, got, expected, fix);
}

// Returns "10.3.0" of "10.3.0.26".
std::string first_three(const std::string& version) {
  std::size_t end = 0;
  for (int dots = 0; end < version.size(); ++end) {
    if (version[end] == '.' && ++dots == 3) break;
  }
  return version.substr(0, end);
}

std::string device_text(const std::string& gpu, const std::string& compute_capability, std::int64_t multiprocessors) {
  return gpu + " (" + compute_capability + ", " + std::to_string(multiprocessors) + " multiprocessors)";
}

}  // namespace

PlanFile read_plan(const ModelSpec& spec, const std::string& plan_path) {
  const std::size_t dot = plan_path.find_last_of("./");
  require(dot != std::string::npos && plan_path.substr(dot) == ".plan", plan_path, "a name without .plan",
          "a plan, NAME.plan, with NAME.json beside it");
  const std::string metadata_path = plan_path.substr(0, dot) + ".json";
  PlanFile plan;
  plan.metadata = plan_metadata_from_json(read_file(metadata_path), metadata_path);
  plan.content = read_file(plan_path);
  const auto bytes = static_cast<std::int64_t>(plan.content.size());
  require(bytes == plan.metadata.bytes, plan_path, std::to_string(bytes) + " bytes",
          std::to_string(plan.metadata.bytes) + " bytes as in its metadata");
  const std::string digest = sha256_hex(plan.content);
  require(digest == plan.metadata.sha256, plan_path, "SHA-256 " + digest, plan.metadata.sha256 + " as in its metadata");
  const bool of_model = std::any_of(spec.files.begin(), spec.files.end(), [&](const auto& entry) {
    return entry.second.sha256 == plan.metadata.model_sha256;
  });
  require(of_model, metadata_path, "model_sha256 " + plan.metadata.model_sha256,
          "the SHA-256 of a file of " + spec.name + " " + spec.version);
  return plan;
}

void check_device(const PlanMetadata& metadata, const std::string& plan_path, const std::string& tensorrt,
                  const std::string& gpu, const std::string& compute_capability, std::int64_t multiprocessors) {
  require(first_three(metadata.tensorrt) == first_three(tensorrt), plan_path, "a plan of TensorRT " + metadata.tensorrt,
          "one of TensorRT " + tensorrt + ", which runs here",
          "Build it again on this device with facedepth-edge build-engine, with the Python package tensorrt of the same "
          "version: " + first_three(tensorrt) + ".");
  const std::string built_for = device_text(metadata.gpu, metadata.compute_capability, metadata.multiprocessors);
  const std::string here = device_text(gpu, compute_capability, multiprocessors);
  require(built_for == here, plan_path, "a plan for " + built_for, "one for " + here + ", which is here");
}

}  // namespace facedepth
