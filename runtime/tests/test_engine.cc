// SPDX-License-Identifier: Apache-2.0
// The TensorRT engine on stand-ins of TensorRT and CUDA: what it asks of the GPU for a frame, and that the depth is
// that of a crop on the host. Compiled for both forms of the crop; FDE_TEST_GPU_CROP says which one is linked.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "facedepth/error.h"
#include "facedepth/pipeline.h"
#include "sha256.h"
#include "stand_in/gpu.h"

namespace facedepth::test {
namespace {

constexpr bool kGpuCrop = FDE_TEST_GPU_CROP;
constexpr std::size_t kCount = std::size_t{kMapHeight} * kMapWidth;
constexpr double kLevels = 0.01;           // the crop's accuracy
constexpr std::size_t kHeaderBytes = 512;  // uploaded before the pixels

ModelSpec small_spec() {
  ModelSpec spec = spec_from_json(read_file(FDE_SOURCE_DIR "/facedepth_edge/models/edge/spec.json"), "spec.json");
  spec.input_width = spec.output_width = kMapWidth;
  spec.input_height = spec.output_height = kMapHeight;
  return spec;
}

// A plan with its metadata, in a folder of its own.
struct PlanFolder {
  PlanFolder() : path(std::filesystem::temp_directory_path() / ("facedepth_engine_" + std::to_string(getpid()))) {
    std::filesystem::create_directory(path);
    const std::string plan = "twelve bytes";
    std::ofstream(path / "edge.plan", std::ios::binary) << plan;
    std::ofstream(path / "edge.json") << R"({"format": 1, "bytes": 12, "built": {}, "sha256": ")" << sha256_hex(plan)
                                      << R"(", "key": {"model_sha256": ")" << small_spec().files.at("fp16.onnx").sha256
                                      << R"(", "precision": "fp16", "tensorrt": "10.3.0", "gpu": "Stand-in",
                                         "compute_capability": "8.7", "multiprocessors": 16, "platform": "linux",
                                         "options": {}}})";
  }
  ~PlanFolder() { std::filesystem::remove_all(path); }

  std::filesystem::path path;
};

// What the stand-in network answers, from a crop on the host.
class HostEngine final : public Engine {
 public:
  NetworkOutput run(const FrameView& frame, const Box& box) override {
    const CropStatistics crop =
        cropper_.crop(frame, box, {face_.data(), kMapWidth, kMapHeight, ElementType::float32, kMapWidth * 4});
    float sum = 0.0F;
    for (const float element : face_) sum += element;
    validity_ = 0.75F + 0.25F * sum / kCount;
    return {face_.data(), mask_.data(), &validity_, crop};
  }

 private:
  FaceCropper cropper_{{1.0 / 127.5, -1.0, 1.0}};
  std::vector<float> face_ = std::vector<float>(kCount);
  std::vector<float> mask_ = std::vector<float>(kCount, 0.9F);
  float validity_ = 0.0F;
};

// A frame of noise with bright and dark blocks.
struct Picture {
  Picture(std::mt19937& random, int width, int height, int channels, PixelType type, int max_value, bool upwards)
      : bytes(static_cast<std::size_t>(width * height * channels) * (type == PixelType::uint16 ? 2 : 1)) {
    const bool wide = type == PixelType::uint16;
    const auto row_bytes = static_cast<std::ptrdiff_t>(bytes.size()) / height;
    for (std::size_t i = 0; i < bytes.size() / (wide ? 2 : 1); ++i) {
      const bool block = random() % 2 == 0;
      const int bright = i / 7 % 2 == 0 ? max_value : 0;
      const int value = block ? bright : static_cast<int>(random() % static_cast<unsigned>(max_value + 1));
      bytes[wide ? 2 * i : i] = static_cast<unsigned char>(value % 256);
      if (wide) bytes[2 * i + 1] = static_cast<unsigned char>(value / 256);
    }
    view = {bytes.data() + (upwards ? row_bytes * (height - 1) : 0),
            width,
            height,
            channels,
            type,
            upwards ? -row_bytes : row_bytes,
            max_value * 1.0};
  }

  std::vector<unsigned char> bytes;
  FrameView view;
};

struct Scene {
  explicit Scene(const std::function<void()>& set_up = [] {}) {
    reset_gpu();
    set_up();
    pipeline = std::make_unique<FaceDepthPipeline>(small_spec(),
                                                   open_tensorrt_engine(small_spec(), folder.path / "edge.plan"));
    gpu().counts = {};
  }

  // Holds one frame's result against the host's; returns the counts of the GPU for it.
  Counts compare(const FrameView& frame, const HeadPosition& head) {
    gpu().counts = {};
    const FaceDepth& found = pipeline->predict(frame, head);
    const Counts counts = gpu().counts;
    const FaceDepth& expected = on_host.predict(frame, head);
    CHECK(found.contrast_levels == doctest::Approx(expected.contrast_levels).epsilon(1e-4));
    CHECK(found.validity == doctest::Approx(expected.validity).epsilon(1e-4));
    CHECK(found.valid == expected.valid);
    CHECK(std::string(found.reason) == expected.reason);
    CHECK(found.mask == expected.mask);
    double worst = 0.0;
    for (std::size_t i = 0; i < kCount; ++i) {
      const double difference = std::fabs(found.relative[i] - expected.relative[i]) * 127.5;
      if (!(difference <= worst)) worst = difference;  // NaN too
    }
    CHECK(worst <= kLevels);
    varied += expected.contrast_levels > 20.0 ? 1 : 0;
    return counts;
  }

  PlanFolder folder;
  std::unique_ptr<FaceDepthPipeline> pipeline;
  FaceDepthPipeline on_host{small_spec(), std::make_unique<HostEngine>()};
  int varied = 0;
  std::mt19937 random{5};
};

// A head whose box is side_px wide and high.
HeadPosition head_at(double x, double y, double side_px) { return {x, y, 640.0, 2.0 * side_px, 2.0 * side_px}; }

void compare_random_frames(Scene& scene) {
  std::uniform_real_distribution<double> share(0.0, 1.0);
  for (int i = 0; i < 60; ++i) {
    const int width = 1 + static_cast<int>(scene.random() % 150);
    const int height = 1 + static_cast<int>(scene.random() % 90);
    const bool wide = i % 3 == 0;
    const Picture picture(scene.random, width, height, i % 2 == 0 ? 3 : 1, wide ? PixelType::uint16 : PixelType::uint8,
                          wide ? 1023 : 255, i % 5 == 0);
    const double side = std::exp(5.5 * share(scene.random));
    scene.compare(picture.view, head_at(share(scene.random) * width, share(scene.random) * height, side));
  }
  CHECK(scene.varied >= 15);
}

TEST_CASE("the depth is that of a crop on the host") {
  Scene scene;
  compare_random_frames(scene);
}

TEST_CASE("where the GPU shares the host's memory nothing of a frame is copied to it") {
  Scene scene([] { gpu().integrated = true; });
  compare_random_frames(scene);
  const Picture picture(scene.random, 90, 60, 3, PixelType::uint8, 255, false);
  CHECK(scene.compare(picture.view, head_at(45.0, 30.0, 40.0)).uploads == 0);
}

TEST_CASE("a frame costs one upload, one replay, one download, one wait, and no allocation") {
  Scene scene;
  const Picture picture(scene.random, 200, 100, 3, PixelType::uint8, 255, false);
  for (int i = 0; i < 5; ++i) {
    const Counts counts = scene.compare(picture.view, head_at(100.5, 50.5, 30.0 + i));
    CHECK(counts.replays == 1);  // the first frame too
    CHECK(counts.kernels == 0);
    CHECK(counts.networks == 0);
    CHECK(counts.recordings == 0);
    CHECK(counts.downloads == 1);
    CHECK(counts.waits == 1);
    CHECK(counts.allocations == 0);
    CHECK(counts.uploads == (kGpuCrop ? 1 : 0));  // the CPU's crop goes up within the graph
  }
}

TEST_CASE("what goes up is the header and the part of the frame under the box" * doctest::skip(!kGpuCrop)) {
  Scene scene;
  const Picture picture(scene.random, 200, 100, 3, PixelType::uint8, 255, false);
  const auto uploaded = [&](double x, double y, double side) {
    return scene.compare(picture.view, head_at(x, y, side)).uploaded_bytes - kHeaderBytes;
  };
  CHECK(uploaded(100.5, 50.5, 40.0) == 43 * 43 * 3);  // 80.5 .. 120.5, a pixel more on each side: 79 .. 121
  CHECK(uploaded(0.0, 99.0, 20.0) == 11 * 12 * 3);    // 0 .. 10 across, 88 .. 99 down
  CHECK(uploaded(100.0, 50.0, 5000.0) == 200 * 100 * 3);
}

TEST_CASE("a part larger than any before gets more room and a new recording, once" * doctest::skip(!kGpuCrop)) {
  Scene scene;
  const Picture large(scene.random, 1600, 1300, 3, PixelType::uint8, 255, false);
  const Picture small(scene.random, 200, 100, 3, PixelType::uint8, 255, false);
  const int live_handles = gpu().live_handles;
  const int live_allocations = gpu().live_allocations;
  const Counts grown = scene.compare(large.view, head_at(800.0, 650.0, 5000.0));
  CHECK(grown.allocations == 2);
  CHECK(grown.recordings == 1);
  CHECK(grown.kernels == 1);  // recorded, not launched
  CHECK(grown.replays == 1);
  for (const FrameView& frame : {small.view, large.view, small.view}) {
    const Counts counts = scene.compare(frame, head_at(60.0, 50.0, 5000.0));
    CHECK(counts.allocations == 0);
    CHECK(counts.recordings == 0);
    CHECK(counts.replays == 1);
  }
  CHECK(gpu().live_handles == live_handles);
  CHECK(gpu().live_allocations == live_allocations);
}

TEST_CASE("a network that cannot be recorded is enqueued anew for each face") {
  Scene scene([] { gpu().can_record = false; });
  const Picture picture(scene.random, 200, 100, 3, PixelType::uint8, 255, false);
  for (int i = 0; i < 3; ++i) {
    const Counts counts = scene.compare(picture.view, head_at(100.0, 50.0, 50.0 + i));
    CHECK(counts.recordings == 0);
    CHECK(counts.replays == 0);
    CHECK(counts.networks == 1);
    CHECK(counts.kernels == (kGpuCrop ? 1 : 0));
    CHECK(counts.uploads == 1);
    CHECK(counts.waits == 1);
  }
}

TEST_CASE("a recording that somebody disturbed is tried again, and nothing for ever") {
  for (const std::string call : {"cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiateWithFlags"}) {
    CAPTURE(call);
    const int live_handles = gpu().live_handles;
    {
      Scene scene([&] { gpu().failing = call; });
      const Picture picture(scene.random, 200, 100, 3, PixelType::uint8, 255, false);
      const auto replays = [&] { return scene.compare(picture.view, head_at(100.0, 50.0, 50.0)).replays; };
      const auto told = [&] { return std::string(scene.pipeline->engine().why_no_graph()); };
      CHECK(told().rfind(call + ": got it was asked to fail", 0) == 0);
      int eager = 0;
      while (eager < 100 && replays() == 0) ++eager;
      CHECK(eager > 10);
      CHECK(eager < 100);
      CHECK(told().empty());
      CHECK(replays() == 1);
    }
    CHECK(gpu().live_handles == live_handles);
  }
  Scene scene([] { gpu().can_record = false; });
  const Picture picture(scene.random, 200, 100, 3, PixelType::uint8, 255, false);
  for (int i = 0; i < 100; ++i) CHECK(scene.compare(picture.view, head_at(100.0, 50.0, 50.0)).replays == 0);
  gpu().can_record = true;
  for (int i = 0; i < 100; ++i) CHECK(scene.compare(picture.view, head_at(100.0, 50.0, 50.0)).replays == 0);
  CHECK(std::string(scene.pipeline->engine().why_no_graph()).rfind("enqueueV3: got ", 0) == 0);
}

TEST_CASE("a graph that cannot be made is no error") {
  Scene scene([] { gpu().failing = "cudaGraphInstantiateWithFlags"; });
  const Picture picture(scene.random, 200, 100, 1, PixelType::uint8, 255, false);
  const Counts counts = scene.compare(picture.view, head_at(100.0, 50.0, 50.0));
  CHECK(counts.replays == 0);
  CHECK(counts.networks == 1);
}

// Checks that a frame is refused with an Error of this kind and start, and that nothing is left on the stream.
void check_refused(Scene& scene, const FrameView& frame, const HeadPosition& head, ErrorKind kind,
                   const std::string& start) {
  CAPTURE(start);
  gpu().counts = {};
  try {
    scene.pipeline->predict(frame, head);
  } catch (const Error& error) {
    CHECK(error.kind() == kind);
    CHECK_MESSAGE(std::string(error.what()).rfind(start, 0) == 0, error.what());
    const Counts& counts = gpu().counts;
    CHECK((counts.waits >= 1 || counts.uploads + counts.kernels + counts.networks + counts.replays == 0));
    return;
  }
  CHECK_MESSAGE(false, "the frame was accepted");
}

TEST_CASE("a call that fails is named, and the next frame is right") {
  Scene eager([] { gpu().can_record = false; });
  Scene scene;
  gpu().can_record = true;
  const Picture picture(scene.random, 1600, 1300, 3, PixelType::uint8, 255, false);
  const HeadPosition head = head_at(100.0, 50.0, 50.0);
  const auto fail = [&](Scene& in, const std::string& call, const HeadPosition& at) {
    gpu().failing = call;
    check_refused(in, picture.view, at, ErrorKind::unavailable, call + ": got ");
    in.compare(picture.view, head);  // a small part first: after a growth that failed there is no room at all
    in.compare(picture.view, at);
  };
  fail(scene, "cudaMemcpyAsync", head);
  fail(scene, "cudaGraphLaunch", head);
  fail(scene, "cudaStreamSynchronize", head);
  fail(eager, "enqueueV3", head);
  if (kGpuCrop) {
    fail(eager, "cudaLaunchKernel", head);
    const HeadPosition everything = head_at(800.0, 650.0, 5000.0);  // needs more room
    fail(scene, "cudaMemcpyAsync", everything);
    fail(eager, "cudaMalloc", everything);
    Scene other;
    fail(other, "cudaHostAlloc", everything);
  }
}

TEST_CASE("frames and boxes that break a rule are refused as on the host") {
  Scene scene;
  Picture picture(scene.random, 120, 90, 1, PixelType::uint16, 4000, false);
  const HeadPosition head = head_at(60.0, 40.0, 50.0);
  const auto refused = [&](const HeadPosition& at, const std::string& start) {
    check_refused(scene, picture.view, at, ErrorKind::input, start);
    CHECK_THROWS_WITH_AS(scene.on_host.predict(picture.view, at), doctest::Contains(start.c_str()), Error);
  };
  refused(head_at(60.0, 40.0, 4e6), "box.x0: got -1999940, expected");
  picture.view.max_value = 1023.0;
  refused(head, "frame: got 3107.9");
  picture.view.max_value = 4000.0;
  picture.view.row_stride_bytes = 120;
  refused(head, "frame.row_stride_bytes: got 120, expected at least one row (240 bytes)");
  picture.view.data = nullptr;
  refused(head, "frame.data: got null");
}

TEST_CASE("any thread may run an engine that was opened on another GPU than its own") {
  const Scene on_first;
  const int live_handles = gpu().live_handles;
  auto opened = std::make_unique<Scene>([] { REQUIRE(cudaSetDevice(1) == cudaSuccess); });
  Scene& scene = *opened;
  std::thread([&scene] {  // a new thread's GPU is the first
    const Picture picture(scene.random, 1600, 1300, 3, PixelType::uint8, 255, false);
    scene.compare(picture.view, head_at(100.0, 50.0, 50.0));
    scene.compare(picture.view, head_at(800.0, 650.0, 5000.0));  // needs more room
    int device = -1;
    CHECK(cudaGetDevice(&device) == cudaSuccess);
    CHECK(device == 0);
  }).join();
  REQUIRE(cudaSetDevice(0) == cudaSuccess);
  opened.reset();
  CHECK(gpu().live_handles == live_handles);
  std::mt19937 random{5};
  const Picture picture(random, 120, 90, 1, PixelType::uint8, 255, false);
  CHECK(on_first.pipeline->predict(picture.view, head_at(60.0, 40.0, 50.0)).contrast_levels > 0.0);
}

TEST_CASE("a recording that cannot begin is no error") {
  Scene scene([] { gpu().failing = "cudaStreamBeginCapture"; });
  const Picture picture(scene.random, 200, 100, 1, PixelType::uint8, 255, false);
  CHECK(scene.compare(picture.view, head_at(100.0, 50.0, 50.0)).networks == 1);
}

TEST_CASE("everything that was taken is given back") {
  const int live_handles = gpu().live_handles;
  const int live_allocations = gpu().live_allocations;
  {
    const Scene scene;
    CHECK(gpu().live_handles == live_handles + 2);  // the stream and the graph
    CHECK(gpu().live_allocations == live_allocations + (kGpuCrop ? 5 : 4));
  }
  CHECK(gpu().live_handles == live_handles);
  CHECK(gpu().live_allocations == live_allocations);
}

}  // namespace
}  // namespace facedepth::test
