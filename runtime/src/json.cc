// SPDX-License-Identifier: Apache-2.0
// A strict reader of JSON text, by recursive descent.

#include "json.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <locale>
#include <set>
#include <sstream>

#include "facedepth/error.h"

namespace facedepth {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{16} << 20U;
constexpr int kMaxDepth = 64;

class Reader {
 public:
  Reader(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  Json read() {
    if (text_.size() > kMaxBytes) fail("more than 16 MiB");
    Json value = read_value(0);
    skip_space();
    if (at_ != text_.size()) fail("something behind the value");
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::artifact, where_, what + " at byte " + std::to_string(at_), "valid JSON text",
                "Write the file again with python -m export or facedepth-edge build-engine.");
  }

  bool done() const noexcept { return at_ == text_.size(); }
  char peek() const noexcept { return done() ? '\0' : text_[at_]; }

  void skip_space() noexcept {
    while (!done() && std::strchr(" \t\n\r", text_[at_]) != nullptr && text_[at_] != '\0') ++at_;
  }

  bool take(char wanted) noexcept {
    if (done() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }

  bool take_word(std::string_view word) noexcept {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Json read_value(int depth) {
    if (depth > kMaxDepth) fail("more than 64 levels");
    skip_space();
    Json value;
    if (take('{')) {
      read_members(value, depth);
    } else if (take('[')) {
      read_items(value, depth);
    } else if (peek() == '"') {
      value.kind = Json::Kind::text;
      value.text = read_text();
    } else if (take_word("true") || take_word("false")) {
      value.kind = Json::Kind::boolean;
      value.boolean = text_[at_ - 2] == 'u';  // tr-u-e, fal-s-e
    } else if (!take_word("null")) {
      read_number(value);
    }
    return value;
  }

  void read_members(Json& value, int depth) {
    value.kind = Json::Kind::object;
    skip_space();
    if (take('}')) return;
    std::set<std::string> keys;
    do {
      skip_space();
      if (peek() != '"') fail("no key");
      std::string key = read_text();
      if (!keys.insert(key).second) fail("the key " + key + " twice");
      skip_space();
      if (!take(':')) fail("no colon behind a key");
      value.members.emplace_back(std::move(key), read_value(depth + 1));
      skip_space();
    } while (take(','));
    if (!take('}')) fail("an object without an end");
  }

  void read_items(Json& value, int depth) {
    value.kind = Json::Kind::array;
    skip_space();
    if (take(']')) return;
    do {
      value.items.push_back(read_value(depth + 1));
      skip_space();
    } while (take(','));
    if (!take(']')) fail("a list without an end");
  }

  void read_digits() {
    if (peek() < '0' || peek() > '9') fail("no value");
    while (peek() >= '0' && peek() <= '9') ++at_;
  }

  void read_number(Json& value) {
    const std::size_t begin = at_;
    take('-');
    if (!take('0')) read_digits();
    if (take('.')) read_digits();
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (!take('+')) take('-');
      read_digits();
    }
    // strtod would ask the locale for its decimal point; from_chars of double is not in every C++17 library.
    const std::string digits(text_.substr(begin, at_ - begin));
    value.kind = Json::Kind::number;
    value.number = number_from(digits);
    value.plain = digits.find_first_of(".eE") == std::string::npos;
    if (!std::isfinite(value.number)) fail("a number that is not finite");
  }

  static double number_from(const std::string& digits) {
#if defined(__cpp_lib_to_chars)
    double number = 0.0;
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    (void)end;
    if (status == std::errc::result_out_of_range) {
      const std::size_t exponent = digits.find_first_of("eE");
      const bool tiny = exponent != std::string::npos && digits[exponent + 1] == '-';
      return tiny ? 0.0 : HUGE_VAL;
    }
    return number;
#else
    std::istringstream text(digits);
    text.imbue(std::locale::classic());  // strtod asks the program's own for the decimal point
    double number = 0.0;
    text >> number;
    return text.fail() && number != 0.0 ? HUGE_VAL : number;  // too large: the largest there is, and it failed
#endif
  }

  std::uint32_t read_hex() {
    std::uint32_t code = 0;
    for (int i = 0; i < 4; ++i) {
      const char digit = peek();
      if (digit >= '0' && digit <= '9') {
        code = code * 16 + static_cast<std::uint32_t>(digit - '0');
      } else if ((digit | 0x20) >= 'a' && (digit | 0x20) <= 'f') {
        code = code * 16 + static_cast<std::uint32_t>((digit | 0x20) - 'a') + 10;
      } else {
        fail("no hexadecimal digit");
      }
      ++at_;
    }
    return code;
  }

  std::uint32_t read_escaped_code() {
    const std::uint32_t code = read_hex();
    if (code < 0xD800 || code > 0xDFFF) return code;
    if (code > 0xDBFF || !take_word("\\u")) fail("half of a pair of surrogates");
    const std::uint32_t low = read_hex();
    if (low < 0xDC00 || low > 0xDFFF) fail("half of a pair of surrogates");
    return 0x10000 + ((code - 0xD800) << 10U) + (low - 0xDC00);
  }

  static void append_utf8(std::string& text, std::uint32_t code) {
    const auto put = [&](std::uint32_t byte) { text.push_back(static_cast<char>(byte)); };
    if (code < 0x80) {
      put(code);
    } else if (code < 0x800) {
      put(0xC0U | (code >> 6U));
      put(0x80U | (code & 63U));
    } else if (code < 0x10000) {
      put(0xE0U | (code >> 12U));
      put(0x80U | ((code >> 6U) & 63U));
      put(0x80U | (code & 63U));
    } else {
      put(0xF0U | (code >> 18U));
      put(0x80U | ((code >> 12U) & 63U));
      put(0x80U | ((code >> 6U) & 63U));
      put(0x80U | (code & 63U));
    }
  }

  // Takes one character of UTF-8 of more than one byte: no byte missing, the shortest form, no surrogate.
  void take_multibyte(std::string& text) {
    const auto first = static_cast<unsigned char>(text_[at_]);
    const int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
    if (first < 0xC2 || first > 0xF4 || text_.size() - at_ <= static_cast<std::size_t>(more)) fail("invalid UTF-8");
    std::uint32_t code = first & (more == 1 ? 31U : more == 2 ? 15U : 7U);
    for (int i = 1; i <= more; ++i) {
      const auto byte = static_cast<unsigned char>(text_[at_ + static_cast<std::size_t>(i)]);
      if ((byte & 0xC0U) != 0x80U) fail("invalid UTF-8");
      code = (code << 6U) | (byte & 63U);
    }
    const std::uint32_t least = more == 1 ? 0x80 : more == 2 ? 0x800 : 0x10000;
    if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) fail("invalid UTF-8");
    text.append(text_.substr(at_, static_cast<std::size_t>(more) + 1));
    at_ += static_cast<std::size_t>(more) + 1;
  }

  std::string read_text() {
    ++at_;  // the quotation mark
    std::string text;
    for (;;) {
      if (done()) fail("a text without an end");
      const char next = text_[at_];
      if (static_cast<unsigned char>(next) >= 0x80) {
        take_multibyte(text);
        continue;
      }
      if (static_cast<unsigned char>(next) < 0x20) fail("a control character in a text");
      ++at_;
      if (next == '"') return text;
      if (next != '\\') {
        text.push_back(next);
        continue;
      }
      constexpr std::string_view kEscapes = "\"\\/bfnrt";
      constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
      const std::size_t escape = done() ? std::string_view::npos : kEscapes.find(text_[at_]);
      if (escape != std::string_view::npos) {
        text.push_back(kMeanings[escape]);
        ++at_;
      } else if (take('u')) {
        append_utf8(text, read_escaped_code());
      } else {
        fail("an unknown escape");
      }
    }
  }

  std::string_view text_;
  const std::string& where_;
  std::size_t at_ = 0;
};

}  // namespace

const Json* Json::find(std::string_view key) const noexcept {
  for (const auto& [name, value] : members) {
    if (name == key) return &value;
  }
  return nullptr;
}

Json json_from_text(std::string_view text, const std::string& where) { return Reader(text, where).read(); }

}  // namespace facedepth
