// SPDX-License-Identifier: Apache-2.0
// read_specs spec|plan FILE...: a line for each file, "read" or the reason why not.

#include <facedepth/error.h>
#include <facedepth/pipeline.h>
#include <facedepth/spec.h>

#include <cstdio>
#include <string>

int main(int count, char** arguments) {
  const bool is_plan = std::string(arguments[1]) == "plan";
  for (int i = 2; i < count; ++i) {
    try {
      const std::string text = facedepth::read_file(arguments[i]);
      if (is_plan) {
        facedepth::plan_metadata_from_json(text, "file");
      } else {
        facedepth::spec_from_json(text, "file");
      }
      std::puts("read");
    } catch (const facedepth::Error& error) {
      std::printf("refused: %s\n", error.what());
    }
  }
  return 0;
}
