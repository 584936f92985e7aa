// SPDX-License-Identifier: Apache-2.0
// Any bytes as spec.json, as a plan's metadata and as the head pose's weights: they are read, or refused by an Error of
// the kind artifact.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "facedepth/error.h"
#include "facedepth/head_pose.h"
#include "facedepth/spec.h"

namespace {

template <typename Read>
void read_or_refuse(const Read& read) {
  try {
    read();
  } catch (const facedepth::Error& error) {
    if (error.kind() != facedepth::ErrorKind::artifact) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read_or_refuse([&] {
    const facedepth::ModelSpec spec = facedepth::spec_from_json(text, "spec.json");
    if (spec.input_width < 1 || spec.output_height > 4096 || spec.files.empty() || !(spec.scale > 0.0)) std::abort();
  });
  read_or_refuse([&] {
    const facedepth::PlanMetadata metadata = facedepth::plan_metadata_from_json(text, "plan.json");
    if (metadata.sha256.size() != 64 || metadata.bytes < 1) std::abort();
  });
  read_or_refuse([&] { facedepth::HeadPoseEstimator(text, "head_pose.safetensors"); });
  return 0;
}
