// SPDX-License-Identifier: Apache-2.0
// The readers of spec.json and of a plan's metadata, and what they stand on: JSON and SHA-256.
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "facedepth/error.h"
#include "facedepth/pipeline.h"
#include "facedepth/spec.h"
#include "json.h"
#include "plan_file.h"
#include "sha256.h"

namespace facedepth::test {
namespace {

const std::string kSpec = read_file(FDE_SOURCE_DIR "/facedepth_edge/models/edge/spec.json");

const std::string kMetadata =
    R"({"format": 1, "sha256": ")" + std::string(64, 'a') + R"(", "bytes": 12, "key": {"model_sha256": ")" +
    std::string(64, 'b') +
    R"(", "precision": "fp16", "tensorrt": "10.3.0", "gpu": "Orin", "compute_capability": "8.7",
    "multiprocessors": 16, "platform": "linux-aarch64", "options": {"batches": [1, 1, 8]}},
    "built": {"workspace_mib": 1024}})";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE_MESSAGE(at != std::string::npos, from);
  return text.replace(at, from.size(), to);
}

template <typename Read>
std::string message_of(const Read& read) {
  try {
    read();
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::artifact);
    return error.what();
  }
  return "";
}

TEST_CASE("the bundled model's spec is read") {
  const ModelSpec spec = spec_from_json(kSpec, "spec.json");
  CHECK(spec.name == "edge");
  CHECK(spec.input_name == "face");
  CHECK(spec.input_width == 96);
  CHECK(spec.output_height == 96);
  CHECK(spec.depth_name == "depth");
  CHECK(spec.mask_name == "mask");
  CHECK(spec.mask_threshold == 0.5);
  CHECK(spec.validity_name == "validity");
  CHECK(spec.scale == doctest::Approx(1.0 / 127.5));
  CHECK(spec.offset == -1.0);
  CHECK(spec.reach_x_mm == 320.0);
  CHECK(spec.half_range_mm == 160.0);
  CHECK(spec.files.at("fp32.onnx").bytes > 1000000);
}

TEST_CASE("depth along the ray is said by the spec, and along the axis where it says nothing") {
  const auto along = [](const std::string& value) {
    std::string text = kSpec;
    const std::size_t at = text.find("\"depth_scale\"");
    const std::size_t open = text.find('{', at);
    const std::size_t close = text.find('}', at);
    text.replace(open, close + 1 - open, "{\"half_range_mm\": 160.0" + value + "}");
    return spec_from_json(text, "spec.json").along_ray;
  };
  CHECK_FALSE(along(""));
  CHECK_FALSE(along(", \"along\": \"axis\""));
  CHECK(along(", \"along\": \"ray\""));
  CHECK_THROWS_AS(along(", \"along\": \"z\""), Error);
  std::string bare = R"({"format": 1, "name": "a", "version": "1", "architecture": "a", "licence": "l",
    "input": {"name": "face", "channels": 1, "height": 96, "width": 96},
    "outputs": {"depth": {"name": "depth", "height": 96, "width": 96}}, "depth_mask_threshold": 0.75,
    "preprocessing": {"gray": "bt601", "shrink": "area", "grow": "bilinear", "border": "replicate", "scale": 1,
    "offset": 0, "reach_x_mm": 320, "reach_y_mm": 320}, "depth_scale": {"half_range_mm": 160, "along": "axis"},
    "opset": 19, "files": {"a.onnx": {"sha256": "HASH", "bytes": 1}}, "optional_files": [], "accuracy": {},
    "training": {}})";
  bare.replace(bare.find("HASH"), 4, std::string(64, '0'));
  CHECK_FALSE(spec_from_json(bare, "spec.json").along_ray);
  bare.replace(bare.find("\"axis\""), 6, "\"ray\"");
  CHECK(spec_from_json(bare, "spec.json").along_ray);
}

TEST_CASE("a spec that breaks a rule is refused, and the place is named") {
  const std::vector<std::pair<std::pair<std::string, std::string>, std::string>> cases = {
      {{"\"format\": 1", "\"format\": 2"}, "spec.json: format: got another number, expected 1."},
      {{"\"format\": 1", "\"format\": 1, \"kind\": \"pair-verification\""}, "spec.json: kind: got a file of another kind"},
      {{"\"format\": 1", "\"format\": 1, \"format\": 1"}, "the key format twice"},
      {{"\"opset\"", "\"opsett\""}, "spec.json: spec: got no opset, expected that key."},
      {{"\"bytes\"", "\"extra\": 1, \"bytes\""}, "got the unknown key extra, expected only keys of this format."},
      {{"\"scale\": 0.0", "\"scale\": -0.0"}, "preprocessing.scale: got -0.00784313725490196, expected a number above"},
      {{"\"bt601\"", "\"bt709\""}, "preprocessing.gray: got bt709, expected bt601."},
      {{"\"threshold\": 0.5", "\"threshold\": 1"}, "outputs.mask.threshold: got 1, expected a number between 0 and 1."},
      {{"\"name\": \"mask\"", "\"name\": \"depth\""}, "outputs: got one name twice, expected a different name"},
      {{"\"height\": 96", "\"height\": 96.5"}, "input.height: got 96.5, expected a whole number, 1 to 4096."},
      {{"\"half_range_mm\": 160.0", "\"half_range_mm\": 1e39"}, "half_range_mm: got 1e+39, expected a number of at most"},
      {{"\"depth_mask_threshold\": null", "\"depth_mask_threshold\": 0.1"}, "expected null, as the model has a mask"},
      {{"\"fp32.onnx\"", "\"../fp32.onnx\""}, "files: got ../fp32.onnx, expected the plain name of a file"},
      {{"\"licence\": \"Apache-2.0\"", "\"licence\": \"\""}, "licence: got another kind of value or nothing"},
  };
  for (const auto& [change, expected] : cases) {
    const std::string text = replaced(kSpec, change.first, change.second);
    const std::string found = message_of([&text = text] { spec_from_json(text, "spec.json"); });
    CHECK_MESSAGE(found.find(expected) != std::string::npos, found);
  }
}

TEST_CASE("a folder is no file") {
  const std::string folder = std::filesystem::temp_directory_path();
  CHECK(message_of([&] { read_file(folder); }).rfind(folder + ": got nothing, expected a file that can be read", 0) == 0);
}

TEST_CASE("a plan's metadata is read and checked") {
  const PlanMetadata metadata = plan_metadata_from_json(kMetadata, "edge.json");
  CHECK(metadata.bytes == 12);
  CHECK(metadata.model_sha256 == std::string(64, 'b'));
  CHECK(metadata.tensorrt == "10.3.0");
  CHECK(metadata.compute_capability == "8.7");
  CHECK(metadata.multiprocessors == 16);
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"\"bytes\": 12", "\"bytes\": 0"}, {"aaaa", "aaaA"}, {"\"gpu\"", "\"gpus\""}, {": 16", ": 0"}, {"{\"workspace_mib\": 1024}", "[]"}}) {
    const std::string text = replaced(kMetadata, from, to);
    CHECK(message_of([&text = text] { plan_metadata_from_json(text, "edge.json"); }).rfind("edge.json: ", 0) == 0);
  }
}

TEST_CASE("a plan is held against its metadata, the model and the device") {
  const ModelSpec spec = spec_from_json(kSpec, "spec.json");
  const std::string folder = std::filesystem::temp_directory_path() / ("facedepth_plan_" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  const auto write = [&](const std::string& name, const std::string& content) {
    std::ofstream(folder + "/" + name, std::ios::binary) << content;
  };
  const std::string plan = "twelve bytes";
  std::string metadata = replaced(kMetadata, std::string(64, 'a'), sha256_hex(plan));
  metadata = replaced(metadata, std::string(64, 'b'), spec.files.at("fp32.onnx").sha256);
  write("edge.plan", plan);
  write("edge.json", metadata);
  const std::string path = folder + "/edge.plan";
  const PlanFile read = read_plan(spec, path);
  CHECK(read.content == plan);
  check_device(read.metadata, path, "10.3.0", "Orin", "8.7", 16);
  check_device(read.metadata, path, "10.3.0.26", "Orin", "8.7", 16);
  const auto refused = [&](const auto& call, const std::string& expected) {
    const std::string found = message_of(call);
    CHECK_MESSAGE(found.find(expected) != std::string::npos, found);
  };
  refused([&] { check_device(read.metadata, path, "10.3.1", "Orin", "8.7", 16); },
          "got a plan of TensorRT 10.3.0, expected");
  refused([&] { check_device(read.metadata, path, "10.3.0", "Orin", "9.0", 16); },
          "got a plan for Orin (8.7, 16 multiprocessors), expected one for Orin (9.0, 16 multiprocessors)");
  refused([&] { check_device(read.metadata, path, "10.3.0", "Orin", "8.7", 8); },
          "got a plan for Orin (8.7, 16 multiprocessors), expected one for Orin (8.7, 8 multiprocessors)");
  refused([&] { read_plan(spec, folder + "/edge"); }, "got a name without .plan");
  refused([&] { read_plan(spec, folder + "/other.plan"); },
          "other.json: got nothing, expected a file that can be read");
  write("edge.plan", plan + "!");
  refused([&] { read_plan(spec, path); }, "got 13 bytes, expected 12 bytes as in its metadata");
  write("edge.plan", "twelve Bytes");
  refused([&] { read_plan(spec, path); }, "got SHA-256 ");
  write("edge.plan", plan);
  write("edge.json", replaced(metadata, spec.files.at("fp32.onnx").sha256, std::string(64, 'c')));
  refused([&] { read_plan(spec, path); }, "got model_sha256 cccc");
  std::filesystem::remove_all(folder);
}

TEST_CASE("JSON: values, escapes, numbers") {
  const Json json =
      json_from_text(" {\"a\": [1, -2.5e2, true, false, null, \"\\u00e9\\ud83d\\ude00\\n\xC3\xA9\"]}\n", "x");
  const Json* list = json.find("a");
  REQUIRE(list != nullptr);
  REQUIRE(list->items.size() == 6);
  CHECK(list->items[1].number == -250.0);
  CHECK(list->items[2].boolean);
  CHECK_FALSE(list->items[3].boolean);
  CHECK(list->items[4].kind == Json::Kind::null);
  CHECK(list->items[5].text == "\xC3\xA9\xF0\x9F\x98\x80\n\xC3\xA9");
  CHECK(json_from_text("1e-999", "x").number == 0.0);
}

TEST_CASE("JSON: what is not JSON is refused") {
  for (const std::string text : {"",
                                 " ",
                                 "{",
                                 "[1,]",
                                 "{\"a\":1,}",
                                 "{\"a\" 1}",
                                 "{a:1}",
                                 "01",
                                 "1.",
                                 ".5",
                                 "+1",
                                 "1e",
                                 "1e999",
                                 "-",
                                 "NaN",
                                 "Infinity",
                                 "tru",
                                 "\"",
                                 "\"\\x\"",
                                 "\"\\u12\"",
                                 "\"\\ud800\"",
                                 "\"\\ud800\\u0041\"",
                                 "\"\n\"",
                                 "\"\xFF\"",
                                 "\"\xC0\x80\"",
                                 "\"\xED\xA0\x80\"",
                                 "\"\xE2\x82\"",
                                 "1 2",
                                 "{\"a\":1,\"a\":2}",
                                 "\xEF\xBB\xBF"
                                 "1"}) {
    CAPTURE(text);
    CHECK(message_of([&] { json_from_text(text, "file"); }).rfind("file: got ", 0) == 0);
  }
  CHECK(message_of([] { json_from_text(std::string(70, '[') + std::string(70, ']'), "file"); }).find("64 levels") !=
        std::string::npos);
}

TEST_CASE("SHA-256 gives the published digests") {
  CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256_hex(std::string(1000000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

}  // namespace
}  // namespace facedepth::test
