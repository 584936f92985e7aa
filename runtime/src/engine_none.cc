// SPDX-License-Identifier: Apache-2.0
// Stands in for engine_trt.cc where the library is built without TensorRT.

#include "facedepth/engine.h"
#include "facedepth/error.h"

namespace facedepth {

std::unique_ptr<Engine> open_tensorrt_engine(const ModelSpec&, const std::string&) {
  throw Error(ErrorKind::unavailable, "TensorRT", "a library that was built without it", "a library built with it",
              "Configure with -DFDE_TENSORRT=ON.");
}

}  // namespace facedepth
