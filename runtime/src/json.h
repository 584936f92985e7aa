// SPDX-License-Identifier: Apache-2.0
// A strict reader of JSON text: each key once, finite numbers, valid UTF-8, nothing behind the value.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace facedepth {

struct Json {
  enum class Kind { null, boolean, number, text, array, object };

  Kind kind = Kind::null;
  bool boolean = false;
  double number = 0.0;
  bool plain = false;  // a number that was written without a point and an exponent
  std::string text;
  std::vector<Json> items;
  std::vector<std::pair<std::string, Json>> members;

  // Returns the member of an object, or null where there is none.
  const Json* find(std::string_view key) const noexcept;
};

// Reads text of up to 16 MiB, nested up to 64 deep. where is the file's name, for the error's text.
// Throws Error of the kind artifact.
Json json_from_text(std::string_view text, const std::string& where);

}  // namespace facedepth
