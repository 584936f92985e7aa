// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4), to tell a file that is whole from one that is not.
#pragma once

#include <string>
#include <string_view>

namespace facedepth {

// Returns the digest as 64 hexadecimal digits in lower case.
std::string sha256_hex(std::string_view bytes);

}  // namespace facedepth
