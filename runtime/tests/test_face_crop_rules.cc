// SPDX-License-Identifier: Apache-2.0
// What the face crop refuses, what it says then, and that it allocates nothing.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include "facedepth/error.h"
#include "facedepth/face_crop.h"

extern "C" {
#include "facedepth/facedepth.h"
}

namespace {
std::size_t allocations = 0;
}  // namespace

// Not inlined: GCC 12 takes an inlined half of the pair for a mismatch with the other (-Wmismatched-new-delete).
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace facedepth::test {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A call that is right; each test spoils one thing.
struct Call {
  std::vector<unsigned char> pixels = std::vector<unsigned char>(40 * 30 * 3, 77);
  std::vector<float> face = std::vector<float>(8 * 6, -5.0F);
  FrameView frame{pixels.data(), 40, 30, 3, PixelType::uint8, 120, 255.0};
  Box box{4.5, 3.5, 30.5, 28.0};
  Normalisation normalisation{1.0 / 127.5, -1.0, 1.0 / 127.0};
  TensorView out{face.data(), 8, 6, ElementType::float32, 32};
  std::vector<unsigned char> workspace = std::vector<unsigned char>(crop_face_workspace_bytes(40, 3, 8));
  std::size_t workspace_bytes = workspace.size();

  Call() = default;
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  void run() { crop_face(frame, box, normalisation, out, workspace.data(), workspace_bytes); }
};

void check_refused(ErrorKind kind, const std::string& start, const std::function<void(Call&)>& spoil) {
  Call call;
  spoil(call);
  CAPTURE(start);
  try {
    call.run();
    FAIL("the call was accepted");
  } catch (const Error& error) {
    const std::string text = error.what();
    CAPTURE(text);
    CHECK(error.kind() == kind);
    CHECK(text.rfind(start, 0) == 0);
    CHECK(text.find(", expected ") != std::string::npos);
    CHECK(text.back() == '.');
  }
  for (const float value : call.face) CHECK(value == -5.0F);
}

TEST_CASE("bad frames and boxes are input errors") {
  const auto refused = [](const char* start, const std::function<void(Call&)>& spoil) {
    check_refused(ErrorKind::input, start, spoil);
  };
  refused("frame.data: got null", [](Call& call) { call.frame.data = nullptr; });
  refused("frame.width: got 0", [](Call& call) { call.frame.width = 0; });
  refused("frame.width: got 32769", [](Call& call) { call.frame.width = 32769; });
  refused("frame.height: got -1", [](Call& call) { call.frame.height = -1; });
  refused("frame.height: got 32769", [](Call& call) { call.frame.height = 32769; });
  refused("frame.channels: got 4", [](Call& call) { call.frame.channels = 4; });
  refused("frame.pixel_type: got 7", [](Call& call) { call.frame.pixel_type = static_cast<PixelType>(7); });
  refused("frame.row_stride_bytes: got 119", [](Call& call) { call.frame.row_stride_bytes = 119; });
  refused("frame.row_stride_bytes: got -119", [](Call& call) { call.frame.row_stride_bytes = -119; });
  refused("frame.row_stride_bytes: got 120, expected at least one row (240 bytes)",
          [](Call& call) { call.frame.pixel_type = PixelType::uint16; });
  refused("frame.max_value: got 0", [](Call& call) { call.frame.max_value = 0.0; });
  refused("frame.max_value: got 1e-300, expected 1e-6 to 255", [](Call& call) { call.frame.max_value = 1e-300; });
  refused("frame.max_value: got 256", [](Call& call) { call.frame.max_value = 256.0; });
  refused("frame.max_value: got nan", [](Call& call) { call.frame.max_value = kNan; });
  refused("box.x0: got nan", [](Call& call) { call.box.x0 = kNan; });
  refused("box.y1: got inf", [](Call& call) { call.box.y1 = kInfinity; });
  refused("box.y0: got -1000001", [](Call& call) { call.box.y0 = -1000001.0; });
  refused("box.x1: got 4.5, expected more than box.x0 (4.5)", [](Call& call) { call.box.x1 = 4.5; });
  refused("box.y1: got 3, expected more than box.y0 (3.5)", [](Call& call) { call.box.y1 = 3.0; });
}

TEST_CASE("bad outputs, normalisations and workspaces are config errors") {
  const auto refused = [](const char* start, const std::function<void(Call&)>& spoil) {
    check_refused(ErrorKind::config, start, spoil);
  };
  refused("out.data: got null", [](Call& call) { call.out.data = nullptr; });
  refused("out.width: got 0", [](Call& call) { call.out.width = 0; });
  refused("out.width: got 4097", [](Call& call) { call.out.width = 4097; });
  refused("out.height: got 4097", [](Call& call) { call.out.height = 4097; });
  refused("out.element_type: got 3", [](Call& call) { call.out.element_type = static_cast<ElementType>(3); });
  refused("out.row_stride_bytes: got 31", [](Call& call) { call.out.row_stride_bytes = 31; });
  refused("normalisation.scale: got nan", [](Call& call) { call.normalisation.scale = kNan; });
  refused("normalisation.offset: got 2000000", [](Call& call) { call.normalisation.offset = 2e6; });
  refused("normalisation.int8_step: got 0", [](Call& call) {
    call.normalisation.int8_step = 0.0;
    call.out.element_type = ElementType::int8;
  });
  refused("workspace: got 10 bytes", [](Call& call) { call.workspace_bytes = 10; });
  refused("workspace: got null", [](Call& call) { std::vector<unsigned char>().swap(call.workspace); });
}

TEST_CASE("limits that are allowed work") {
  Call call;
  call.frame.height = 1;
  call.frame.row_stride_bytes = std::numeric_limits<std::ptrdiff_t>::min();  // not read with a single row
  call.out.height = 1;
  call.out.row_stride_bytes = 0;
  call.normalisation.int8_step = kNan;  // not read for float32
  call.box = {-1e6, -1e6, 1e6, 1e6};
  call.run();
  for (int i = 0; i < 8; ++i) {
    CHECK(call.face[static_cast<std::size_t>(i)] == doctest::Approx(77.0 / 127.5 - 1.0).epsilon(1e-5));
  }
  CHECK(call.face[8] == -5.0F);
}

TEST_CASE("nothing is allocated for a frame") {
  Call call;
  FaceCropper cropper(call.normalisation);
  cropper.crop(call.frame, call.box, call.out);
  const std::size_t before = allocations;
  for (int round = 0; round < 5; ++round) {
    call.box.x0 += 0.7;
    call.run();
    cropper.crop(call.frame, call.box, call.out);
  }
  CHECK(allocations == before);
}

TEST_CASE("the workspace may start at any address and is not left") {
  Call call;
  call.run();
  const std::vector<float> expected = call.face;
  for (std::size_t shift = 0; shift < 8; ++shift) {
    std::vector<unsigned char> memory(call.workspace_bytes + 8, 0xA5);
    crop_face(call.frame, call.box, call.normalisation, call.out, memory.data() + shift, call.workspace_bytes);
    CHECK(call.face == expected);
    for (std::size_t i = 0; i < shift; ++i) CHECK(memory[i] == 0xA5);
    for (std::size_t i = shift + call.workspace_bytes; i < memory.size(); ++i) CHECK(memory[i] == 0xA5);
  }
}

TEST_CASE("C gets a status and a message that fits") {
  Call call;
  const fde_frame frame{call.pixels.data(), 40, 30, 3, FDE_UINT8, 120, 255.0};
  const fde_box bad{4.0, 4.0, kNan, 9.0};
  const fde_box good{4.0, 4.0, 9.0, 9.0};
  const fde_normalisation normalisation{1.0 / 127.5, -1.0, 1.0};
  const fde_tensor out{call.face.data(), 8, 6, FDE_FLOAT32, 32};
  std::vector<char> message(12, 'x');
  const auto run = [&](const fde_frame* from, const fde_box* box, char* text, std::size_t bytes) {
    return fde_crop_face(from, box, &normalisation, &out, call.workspace.data(), call.workspace_bytes, nullptr, text,
                         bytes);
  };
  CHECK(run(&frame, &bad, message.data(), message.size()) == FDE_INPUT_ERROR);
  CHECK(std::string(message.data()) == "box.x1: got");
  CHECK(run(&frame, &bad, nullptr, 0) == FDE_INPUT_ERROR);
  CHECK(run(nullptr, &good, message.data(), message.size()) == FDE_INPUT_ERROR);
  CHECK(run(&frame, &good, message.data(), message.size()) == FDE_OK);
  CHECK(std::string(message.data()).empty());
  CHECK(call.face[0] == doctest::Approx(77.0 / 127.5 - 1.0).epsilon(1e-5));
  fde_statistics found{};
  CHECK(fde_crop_face(&frame, &good, &normalisation, &out, call.workspace.data(), call.workspace_bytes, &found, nullptr,
                      0) == FDE_OK);
  CHECK(found.mean == doctest::Approx(77.0 / 127.5 - 1.0).epsilon(1e-5));
  CHECK(found.deviation < 1e-6);
  CHECK(fde_crop_face_workspace_bytes(40, 3, 8, nullptr, nullptr, 0) == FDE_CONFIG_ERROR);
  std::size_t bytes = 0;
  CHECK(fde_crop_face_workspace_bytes(40, 2, 8, &bytes, nullptr, 0) == FDE_INPUT_ERROR);
  CHECK(fde_crop_face_workspace_bytes(40, 3, 8, &bytes, nullptr, 0) == FDE_OK);
  CHECK(bytes == call.workspace_bytes);
}

}  // namespace
}  // namespace facedepth::test
