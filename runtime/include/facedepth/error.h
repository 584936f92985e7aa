// SPDX-License-Identifier: Apache-2.0
// The one exception of the native runtime.
#pragma once

#include <stdexcept>
#include <string>

namespace facedepth {

// What was wrong: the same kinds as the children of FaceDepthError in Python.
enum class ErrorKind {
  input,        // a frame, a box or a head's position that cannot be used
  config,       // a size, a normalisation, an output tensor or a workspace that cannot be used
  artifact,     // a model's file that is missing, damaged or written by other rules
  unavailable,  // a library or a device that is not there or failed
};

// Thrown by every function of the runtime that refuses its arguments; nothing has been written then.
// what() reads "<where>: got <value>, expected <rule>. <how to fix>".
class [[gnu::visibility("default")]] Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& where, const std::string& got, const std::string& expected,
        const std::string& fix)
      : std::runtime_error(where + ": got " + got + ", expected " + expected + ". " + fix), kind_(kind) {}

  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace facedepth
