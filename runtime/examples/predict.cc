// SPDX-License-Identifier: Apache-2.0
// Image in, depth out, without Python: predict MODEL PLAN IMAGE X Y DISTANCE_MM FX DEPTH [FY CX CY]
//   MODEL         the model's folder, with spec.json; where head_pose.safetensors lies beside the folder, as it does in
//                 the Python package, the head's pose is printed too
//   PLAN          what `facedepth-edge build-engine` made of it on this device
//   IMAGE         binary .ppm or .pgm with 8 bits a value (from any picture: convert driver.png driver.ppm)
//   X Y           head centre in pixels: the point midway between the ears
//   DISTANCE_MM   distance of the face
//   FX            focal length in pixels
//   DEPTH         16-bit .pgm to write: whole millimetres, 0 outside the head
//   FY CX CY      the other intrinsics in pixels; left out: FX, and the optical axis in the middle of the frame

#include <facedepth/error.h>
#include <facedepth/head_pose.h>
#include <facedepth/pipeline.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace {

struct Image {
  std::vector<unsigned char> pixels;  // (height, width, channels), B G R or gray
  facedepth::FrameView view;
};

Image read_image(const std::string& path) {
  const auto refuse = [&](const char* got) {
    throw facedepth::Error(facedepth::ErrorKind::input, path, got, "a binary .ppm (P6) or .pgm (P5) of 8 bits",
                           "Convert the picture.");
  };
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  int width = 0;
  int height = 0;
  int white = 0;
  file >> kind;
  for (int* number : {&width, &height, &white}) {
    while (file >> std::ws && file.peek() == '#') file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    file >> *number;
  }
  file.get();
  if (!file || (kind != "P5" && kind != "P6") || white != 255) refuse("another format");
  if (width < 1 || height < 1 || width > 32768 || height > 32768) refuse("another size");
  const int channels = kind == "P6" ? 3 : 1;
  Image image;
  image.pixels.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) *
                      static_cast<std::size_t>(channels));
  file.read(reinterpret_cast<char*>(image.pixels.data()), static_cast<std::streamsize>(image.pixels.size()));
  if (!file) refuse("too few pixels");
  for (std::size_t i = 0; channels == 3 && i < image.pixels.size(); i += 3)
    std::swap(image.pixels[i], image.pixels[i + 2]);
  image.view = {image.pixels.data(),
                width,
                height,
                channels,
                facedepth::PixelType::uint8,
                static_cast<std::ptrdiff_t>(width) * channels,
                255.0};
  return image;
}

double read_number(const char* name, const char* text) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0') {
    throw facedepth::Error(facedepth::ErrorKind::input, name, text, "a number", "Write it with a decimal point.");
  }
  return value;
}

void write_depth(const facedepth::FaceDepth& face, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  file << "P5\n" << face.width << " " << face.height << "\n65535\n";
  for (std::size_t i = 0; i < face.depth_mm.size(); ++i) {
    const float depth_mm = face.depth_mm[i];  // not finite where the network failed: such a result is not valid
    const bool is_head = face.mask[i] != 0 && std::isfinite(depth_mm);
    const auto whole = is_head ? static_cast<unsigned>(std::clamp(std::round(depth_mm), 0.0F, 65535.0F)) : 0U;
    file.put(static_cast<char>(whole >> 8U)).put(static_cast<char>(whole & 255U));
  }
  file.flush();
  if (!file) {
    throw facedepth::Error(facedepth::ErrorKind::input, path, "an error", "a file that can be written",
                           "Check the folder.");
  }
}

void print_pose(const facedepth::FaceDepth& face, const std::string& weights_path) {
  if (!std::ifstream(weights_path)) return;
  facedepth::HeadPoseEstimator estimator(facedepth::read_file(weights_path), weights_path);
  if (const std::optional<facedepth::HeadPose> pose = estimator.estimate(face)) {
    std::printf("yaw %.0f, pitch %.0f, roll %.0f degrees\n", pose->yaw_deg, pose->pitch_deg, pose->roll_deg);
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 9 && count != 12) {
    std::fprintf(stderr, "usage: %s MODEL PLAN IMAGE X Y DISTANCE_MM FX DEPTH [FY CX CY]\n", arguments[0]);
    return 2;
  }
  try {
    facedepth::HeadPosition head;
    head.x = read_number("X", arguments[4]);
    head.y = read_number("Y", arguments[5]);
    head.distance_mm = read_number("DISTANCE_MM", arguments[6]);
    head.fx = head.fy = read_number("FX", arguments[7]);
    if (count == 12) {
      head.fy = read_number("FY", arguments[9]);
      head.cx = read_number("CX", arguments[10]);
      head.cy = read_number("CY", arguments[11]);
    }
    const std::string spec_path = std::string(arguments[1]) + "/spec.json";
    facedepth::ModelSpec spec = facedepth::spec_from_json(facedepth::read_file(spec_path), spec_path);
    std::unique_ptr<facedepth::Engine> engine = facedepth::open_tensorrt_engine(spec, arguments[2]);
    facedepth::FaceDepthPipeline pipeline(std::move(spec), std::move(engine));
    const Image image = read_image(arguments[3]);
    const facedepth::FaceDepth& face = pipeline.predict(image.view, head);
    write_depth(face, arguments[8]);
    std::printf("%s: %s%s\n", arguments[8], face.valid ? "valid" : "not valid: ", face.reason);
    print_pose(face, std::string(arguments[1]) + "/../head_pose.safetensors");
    return face.valid ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
