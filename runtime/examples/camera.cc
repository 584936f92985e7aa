// SPDX-License-Identifier: Apache-2.0
// A camera, its depth and its latency: camera MODEL PLAN SOURCE FX DISTANCE_MM [MAX_VALUE]
//   MODEL         the model's folder, with spec.json
//   PLAN          what `facedepth-edge build-engine` made of it on this device
//   SOURCE        a V4L2 device's number, or a GStreamer pipeline that ends in appsink, in quotation marks, such as
//                 "nvarguscamerasrc ! nvvidconv ! video/x-raw,format=GRAY8 ! appsink drop=true max-buffers=1"
//   FX            focal length in pixels
//   DISTANCE_MM   z of the face at the head centre
//   MAX_VALUE     the largest value of a pixel of 16 bits: 1023 for a camera of 10 bits, 4095 of 12; 65535 if left out
// The head is taken to be in the middle of the frame: put your detector's head centre in its place.

#include <facedepth/error.h>
#include <facedepth/pipeline.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <opencv2/highgui.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr std::size_t kShownFrames = 100;

cv::VideoCapture open_camera(const std::string& source) {
  cv::VideoCapture camera;
  if (source.find_first_not_of("0123456789") == std::string::npos) {
    camera.open(std::atoi(source.c_str()), cv::CAP_V4L2);
    camera.set(cv::CAP_PROP_BUFFERSIZE, 1);
  } else {
    camera.open(source, cv::CAP_GSTREAMER);
  }
  if (!camera.isOpened()) {
    throw facedepth::Error(facedepth::ErrorKind::input, source, "nothing", "a camera that opens",
                           "Give a V4L2 number or a GStreamer pipeline that ends in appsink.");
  }
  return camera;
}

facedepth::FrameView view_of(const cv::Mat& frame, double max_value) {
  const bool wide = frame.depth() == CV_16U;
  return {frame.data,
          frame.cols,
          frame.rows,
          frame.channels(),
          wide ? facedepth::PixelType::uint16 : facedepth::PixelType::uint8,
          static_cast<std::ptrdiff_t>(frame.step[0]),
          wide ? max_value : 255.0};
}

void show(const facedepth::FaceDepth& face, double p50_ms) {
  cv::Mat picture(face.height, face.width, CV_32F, const_cast<float*>(face.relative.data()));
  picture.convertTo(picture, CV_8U, -127.5, 127.5);
  cv::resize(picture, picture, {384, 384}, 0, 0, cv::INTER_NEAREST);
  char text[64];
  std::snprintf(text, sizeof(text), "%.2f ms %s", p50_ms, face.valid ? "" : face.reason);
  cv::putText(picture, text, {8, 24}, cv::FONT_HERSHEY_SIMPLEX, 0.6, {255});
  cv::imshow("facedepth", picture);
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 6 && count != 7) {
    std::fprintf(stderr, "usage: %s MODEL PLAN SOURCE FX DISTANCE_MM [MAX_VALUE]\n", arguments[0]);
    return 2;
  }
  try {
    const std::string spec_path = std::string(arguments[1]) + "/spec.json";
    facedepth::ModelSpec spec = facedepth::spec_from_json(facedepth::read_file(spec_path), spec_path);
    std::unique_ptr<facedepth::Engine> engine = facedepth::open_tensorrt_engine(spec, arguments[2]);
    facedepth::FaceDepthPipeline pipeline(std::move(spec), std::move(engine));
    cv::VideoCapture camera = open_camera(arguments[3]);
    const double fx = std::strtod(arguments[4], nullptr);
    const double distance_mm = std::strtod(arguments[5], nullptr);
    const double max_value = count == 7 ? std::strtod(arguments[6], nullptr) : 65535.0;
    std::vector<double> latest_ms;
    for (cv::Mat frame; camera.read(frame) && cv::waitKey(1) != 27;) {  // Esc ends
      const auto started = std::chrono::steady_clock::now();
      const facedepth::FaceDepth& face =
          pipeline.predict(view_of(frame, max_value), {frame.cols / 2.0, frame.rows / 2.0, distance_mm, fx, fx});
      const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - started;
      latest_ms.push_back(took.count());
      if (latest_ms.size() > kShownFrames) latest_ms.erase(latest_ms.begin());
      std::vector<double> sorted_ms = latest_ms;
      std::sort(sorted_ms.begin(), sorted_ms.end());
      show(face, sorted_ms[sorted_ms.size() / 2]);
    }
    return 0;
  } catch (const facedepth::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
