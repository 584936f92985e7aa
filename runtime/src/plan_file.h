// SPDX-License-Identifier: Apache-2.0
// A TensorRT plan with the metadata beside it, checked before TensorRT sees it.
#pragma once

#include <cstdint>
#include <string>

#include "facedepth/spec.h"

namespace facedepth {

struct PlanFile {
  std::string content;
  PlanMetadata metadata;
};

// Reads a plan and the .json of the same name beside it.
// Throws Error of the kind artifact: a file cannot be read, the plan has another size or SHA-256 than its metadata
// says, or it was built from a file that the spec does not list.
PlanFile read_plan(const ModelSpec& spec, const std::string& plan_path);

// Throws Error of the kind artifact where a plan was built for another device.
//   tensorrt            "major.minor.patch" of the library that runs
//   gpu                 its name
//   compute_capability  "major.minor"
//   multiprocessors     how many it has: boards of several sizes give their GPU one name
void check_device(const PlanMetadata& metadata, const std::string& plan_path, const std::string& tensorrt,
                  const std::string& gpu, const std::string& compute_capability, std::int64_t multiprocessors);

}  // namespace facedepth
