// SPDX-License-Identifier: Apache-2.0
// The rules of spec.json and of a plan's metadata, as facedepth_edge/spec.py and engine_cache.py have them.

#include "facedepth/spec.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <initializer_list>

#include "facedepth/error.h"
#include "json.h"

namespace facedepth {
namespace {

constexpr double kFormat = 1.0;
constexpr double kMaxSide = 4096.0;
constexpr double kLargest = 1e6;  // LARGEST_IN_SPEC of facedepth_edge/spec.py
constexpr double kMaxWhole = 9007199254740992.0;  // 2^53: whole numbers beyond are not exact

using Keys = std::initializer_list<std::string_view>;

// Of UTF-8: U+0000 to U+001F and U+007F are one byte, U+0080 to U+009F are 0xC2 and another.
bool has_control_character(const std::string& text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7F) return true;
    if (byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0) return true;
  }
  return false;
}

// One JSON value with its place in the file, for the errors' texts.
class Field {
 public:
  Field(const Json& json, std::string file, std::string path)
      : json_(json), file_(std::move(file)), path_(std::move(path)) {}

  [[noreturn]] void fail(const std::string& got, const std::string& expected) const {
    throw Error(ErrorKind::artifact, file_ + ": " + path_, got, expected,
                "Write the file again with this version's python -m export or facedepth-edge build-engine.");
  }

  // The member of that name, after check_keys.
  Field at(std::string_view key) const {
    const Json* member = json_.find(key);
    if (member == nullptr) fail("no " + std::string(key), "that key");
    return {*member, file_, path_ == kTop ? std::string(key) : path_ + "." + std::string(key)};
  }

  bool has(std::string_view key) const noexcept { return json_.find(key) != nullptr; }
  bool is_null() const noexcept { return json_.kind == Json::Kind::null; }
  const Json& json() const noexcept { return json_; }

  const Field& check_keys(Keys required, Keys optional = {}) const {
    check_object();
    for (const std::string_view key : required) at(key);
    const auto known = [](Keys keys, const std::string& name) {
      return std::find(keys.begin(), keys.end(), name) != keys.end();
    };
    for (const auto& [name, value] : json_.members) {
      if (!known(required, name) && !known(optional, name)) fail("the unknown key " + name, "only keys of this format");
    }
    return *this;
  }

  const Field& check_object() const {
    if (json_.kind != Json::Kind::object) fail("another kind of value", "an object");
    return *this;
  }

  std::string text() const {
    if (json_.kind != Json::Kind::text || json_.text.find_first_not_of(' ') == std::string::npos) {
      fail("another kind of value or nothing", "a text that is not empty");
    }
    if (has_control_character(json_.text)) fail("a control character", "a text that can be printed");
    return json_.text;
  }

  void check_text(std::string_view only) const {
    if (text() != only) fail(text(), std::string(only));
  }

  double number() const {
    if (json_.kind != Json::Kind::number) fail("another kind of value", "a number");
    return json_.number;
  }

  // Beyond kLargest a number is a mistake, and overflows a float sooner or later.
  double bounded() const {
    if (!(std::fabs(number()) <= kLargest)) fail(shown(), "a number of at most " + text_of(kLargest));
    return json_.number;
  }

  double number_above(double low) const {
    if (!(bounded() > low)) fail(shown(), "a number above " + text_of(low));
    return json_.number;
  }

  double probability() const {
    if (!(number() > 0.0 && json_.number < 1.0)) fail(shown(), "a number between 0 and 1");
    return json_.number;
  }

  double whole(double high) const {
    if (!(number() >= 1.0 && json_.number <= high && json_.plain)) {
      fail(shown(), "a whole number, 1 to " + text_of(high));
    }
    return json_.number;
  }

  std::int32_t side_px() const { return static_cast<std::int32_t>(whole(kMaxSide)); }

  std::string sha256() const {
    const std::string digits = text();
    if (digits.size() != 64 || digits.find_first_not_of("0123456789abcdef") != std::string::npos) {
      fail(digits, "64 hexadecimal digits in lower case");
    }
    return digits;
  }

  static constexpr const char* kTop = "spec";

 private:
  static std::string text_of(double value) {
    char text[32];
    std::snprintf(text, sizeof(text), "%.15g", value);
    return text;
  }

  std::string shown() const { return text_of(json_.number); }

  const Json& json_;
  std::string file_;
  std::string path_;
};

void check_format(const Field& top) {
  const Field format = top.check_object().at("format");
  if (format.number() != kFormat || !format.json().plain) format.fail("another number", "1");
  if (top.has("kind")) top.at("kind").fail("a file of another kind", "a model that estimates depth, which has no kind");
}

bool is_file_name(const std::string& name) {
  const auto plain = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); };
  return !name.empty() && plain(name[0]) && name != "spec.json" &&
         std::all_of(name.begin(), name.end(), [&](char c) { return plain(c) || c == '.' || c == '_' || c == '-'; });
}

void read_input(const Field& input, ModelSpec& spec) {
  input.check_keys({"name", "channels", "height", "width"});
  spec.input_name = input.at("name").text();
  input.at("channels").whole(1.0);
  spec.input_height = input.at("height").side_px();
  spec.input_width = input.at("width").side_px();
}

void read_outputs(const Field& outputs, const Field& depth_mask_threshold, ModelSpec& spec) {
  outputs.check_keys({"depth"}, {"mask", "validity"});
  const Field depth = outputs.at("depth").check_keys({"name", "height", "width"});
  spec.depth_name = depth.at("name").text();
  spec.output_height = depth.at("height").side_px();
  spec.output_width = depth.at("width").side_px();
  if (outputs.has("mask")) {
    const Field mask = outputs.at("mask").check_keys({"name", "height", "width", "threshold"});
    spec.mask_name = mask.at("name").text();
    spec.mask_threshold = mask.at("threshold").probability();
    if (mask.at("height").side_px() != spec.output_height || mask.at("width").side_px() != spec.output_width) {
      mask.fail("another size", "the size of outputs.depth");
    }
    if (!depth_mask_threshold.is_null()) depth_mask_threshold.fail("a value", "null, as the model has a mask output");
  } else {
    spec.mask_threshold = depth_mask_threshold.number_above(-1.0);
    if (spec.mask_threshold > 1.0) depth_mask_threshold.fail("a number above 1", "a number above -1 and up to 1");
  }
  if (outputs.has("validity")) {
    const Field validity = outputs.at("validity").check_keys({"name", "threshold"});
    spec.validity_name = validity.at("name").text();
    spec.validity_threshold = validity.at("threshold").probability();
  }
  const std::string& mask = spec.mask_name;
  const std::string& validity = spec.validity_name;
  if (spec.depth_name == mask || spec.depth_name == validity || (!mask.empty() && mask == validity)) {
    outputs.fail("one name twice", "a different name for each output");
  }
}

void read_preprocessing(const Field& part, ModelSpec& spec) {
  part.check_keys({"gray", "shrink", "grow", "border", "scale", "offset", "reach_x_mm", "reach_y_mm"});
  part.at("gray").check_text("bt601");
  part.at("shrink").check_text("area");
  part.at("grow").check_text("bilinear");
  part.at("border").check_text("replicate");
  spec.scale = part.at("scale").number_above(0.0);
  spec.offset = part.at("offset").bounded();
  spec.reach_x_mm = part.at("reach_x_mm").number_above(0.0);
  spec.reach_y_mm = part.at("reach_y_mm").number_above(0.0);
}

void read_files(const Field& files, const Field& optional, ModelSpec& spec) {
  files.check_object();
  if (files.json().members.empty()) files.fail("none", "at least one file");
  for (const auto& [name, value] : files.json().members) {
    if (!is_file_name(name)) files.fail(name, "the plain name of a file in the same folder, other than spec.json");
    const Field entry = files.at(name).check_keys({"sha256", "bytes"});
    spec.files[name] = {entry.at("sha256").sha256(), static_cast<std::int64_t>(entry.at("bytes").whole(kMaxWhole))};
  }
  if (optional.json().kind != Json::Kind::array) optional.fail("another kind of value", "a list of file names");
  for (const Json& name : optional.json().items) {
    if (name.kind != Json::Kind::text || spec.files.count(name.text) == 0) {
      optional.fail("another entry", "names that are in files");
    }
  }
}

}  // namespace

ModelSpec spec_from_json(std::string_view text, const std::string& where) {
  const Json json = json_from_text(text, where);
  const Field top(json, where, Field::kTop);
  check_format(top);  // a newer file: say that, not its keys
  top.check_keys({"format", "name", "version", "architecture", "licence", "input", "outputs", "depth_mask_threshold",
                  "preprocessing", "depth_scale", "opset", "files", "optional_files", "accuracy", "training"});
  ModelSpec spec;
  spec.name = top.at("name").text();
  spec.version = top.at("version").text();
  top.at("architecture").text();
  top.at("licence").text();
  top.at("opset").whole(kMaxWhole);
  top.at("accuracy").check_object();
  top.at("training").check_object();
  read_input(top.at("input"), spec);
  read_outputs(top.at("outputs"), top.at("depth_mask_threshold"), spec);
  read_preprocessing(top.at("preprocessing"), spec);
  const Field scale = top.at("depth_scale").check_keys({"half_range_mm"}, {"along"});
  spec.half_range_mm = scale.at("half_range_mm").number_above(0.0);
  if (scale.has("along")) {
    const std::string along = scale.at("along").text();
    if (along != "axis" && along != "ray") scale.at("along").fail(along, "axis or ray");
    spec.along_ray = along == "ray";
  }
  read_files(top.at("files"), top.at("optional_files"), spec);
  return spec;
}

PlanMetadata plan_metadata_from_json(std::string_view text, const std::string& where) {
  const Json json = json_from_text(text, where);
  const Field top(json, where, Field::kTop);
  check_format(top);
  top.check_keys({"format", "sha256", "bytes", "key", "built"});
  top.at("built").check_object();
  const Field key = top.at("key").check_keys(
      {"model_sha256", "precision", "tensorrt", "gpu", "compute_capability", "multiprocessors", "platform", "options"});
  key.at("platform").text();
  key.at("options").check_object();
  PlanMetadata metadata;
  metadata.sha256 = top.at("sha256").sha256();
  metadata.bytes = static_cast<std::int64_t>(top.at("bytes").whole(kMaxWhole));
  metadata.model_sha256 = key.at("model_sha256").sha256();
  metadata.precision = key.at("precision").text();
  metadata.tensorrt = key.at("tensorrt").text();
  metadata.gpu = key.at("gpu").text();
  metadata.compute_capability = key.at("compute_capability").text();
  metadata.multiprocessors = static_cast<std::int64_t>(key.at("multiprocessors").whole(kMaxWhole));
  return metadata;
}

}  // namespace facedepth
