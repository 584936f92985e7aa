// SPDX-License-Identifier: Apache-2.0
// The head's pose, step by step as facedepth_edge/head_pose.py has it.

#include "facedepth/head_pose.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "facedepth/error.h"
#include "tensor_file.h"

namespace facedepth {
namespace {

constexpr std::size_t kCells = 12;  // along each side of the maps
constexpr std::size_t kCellCount = kCells * kCells;
constexpr double kScaleMm = 40.0;
constexpr std::size_t kAnswers = 6;  // the first two columns of a rotation
constexpr double kDegrees = 57.29577951308232;

// How far the point between the ears lies behind the face's surface, by the head's yaw; BEHIND_BY_YAW_MM of head.py.
constexpr std::array<std::array<double, 2>, 7> kBehindByYawMm = {
    {{0.0, 102.0}, {10.0, 95.0}, {20.0, 91.0}, {30.0, 91.0}, {40.0, 89.0}, {60.0, 80.0}, {90.0, 73.0}}};

using Vector = std::array<double, 3>;

double dot(const Vector& a, const Vector& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

Vector scaled(const Vector& a, double factor) { return {a[0] * factor, a[1] * factor, a[2] * factor}; }

Vector unit(const Vector& a) { return scaled(a, 1.0 / std::sqrt(dot(a, a))); }

double behind_face_mm(double yaw_deg) {
  const double yaw = std::fabs(yaw_deg);
  std::size_t next = 1;
  while (next + 1 < kBehindByYawMm.size() && kBehindByYawMm[next][0] < yaw) ++next;
  const auto& [low_deg, low_mm] = kBehindByYawMm[next - 1];
  const auto& [high_deg, high_mm] = kBehindByYawMm[next];
  const double share = std::min((yaw - low_deg) / (high_deg - low_deg), 1.0);
  return low_mm + share * (high_mm - low_mm);
}

// The ray to the head centre: x / z, y / z.
struct Ray {
  double length() const { return std::sqrt(1.0 + x * x + y * y); }

  double x;
  double y;
};

// The smallest rotation that takes the optical axis to a ray.
Rotation rotation_along(const Ray& ray) {
  const double norm = ray.length();
  const double x = ray.x / norm;
  const double y = ray.y / norm;
  const double z = 1.0 / norm;
  const double share = 1.0 / (1.0 + z);
  return {{{1.0 - x * x * share, -x * y * share, x}, {-x * y * share, 1.0 - y * y * share, y}, {-x, -y, z}}};
}

Rotation product(const Rotation& a, const Rotation& b) {
  Rotation result{};
  for (std::size_t row = 0; row < 3; ++row) {
    for (std::size_t column = 0; column < 3; ++column) {
      for (std::size_t i = 0; i < 3; ++i) result[row][column] += a[row][i] * b[i][column];
    }
  }
  return result;
}

// The rotation whose first two columns are nearest to six numbers: Zhou et al., "On the continuity of rotation
// representations in neural networks", CVPR 2019, section 4.2.
Rotation rotation_from_columns(const std::vector<double>& six) {
  const Vector first = unit({six[0], six[1], six[2]});
  const Vector raw = {six[3], six[4], six[5]};
  const Vector along = scaled(first, dot(first, raw));
  const Vector second = unit({raw[0] - along[0], raw[1] - along[1], raw[2] - along[2]});
  const Vector third = {first[1] * second[2] - first[2] * second[1], first[2] * second[0] - first[0] * second[2],
                        first[0] * second[1] - first[1] * second[0]};
  Rotation rotation;
  for (std::size_t row = 0; row < 3; ++row) rotation[row] = {first[row], second[row], third[row]};
  return rotation;
}

double yaw_deg_of(const Rotation& rotation) { return kDegrees * std::asin(std::clamp(rotation[2][0], -1.0, 1.0)); }

// Writes what the network sees: the head's depth along the ray to the head centre, less its distance there, in kScaleMm,
// then the mask, both averaged over the cells, row by row.
void write_cells(const FaceDepth& face, const Ray& ray, std::vector<double>& cells) {
  const HeadPosition& head = face.head;
  const auto width = static_cast<std::size_t>(face.width);
  const auto height = static_cast<std::size_t>(face.height);
  const double norm = ray.length();
  const double head_mm = norm * head.distance_mm;
  const double step_x = (face.box.x1 - face.box.x0) / face.width;
  const double step_y = (face.box.y1 - face.box.y0) / face.height;
  std::fill(cells.begin(), cells.end(), 0.0);
  for (std::size_t row = 0; row < height; ++row) {
    const double v = (face.box.y0 + (static_cast<double>(row) + 0.5) * step_y - head.cy) / head.fy;
    for (std::size_t column = 0; column < width; ++column) {
      const std::size_t at = row * width + column;
      if (face.mask[at] == 0) continue;
      const double u = (face.box.x0 + (static_cast<double>(column) + 0.5) * step_x - head.cx) / head.fx;
      const double along_mm = static_cast<double>(face.depth_mm[at]) * (u * ray.x + v * ray.y + 1.0) / norm - head_mm;
      const std::size_t cell = row * kCells / height * kCells + column * kCells / width;
      cells[cell] += along_mm / kScaleMm;
      cells[kCellCount + cell] += 1.0;
    }
  }
  const double share = static_cast<double>(kCellCount) / static_cast<double>(width * height);
  for (double& cell : cells) cell *= share;
}

struct Layer {
  // Writes weight^T in + bias; between layers what is below 0 becomes 0.
  void run(const std::vector<double>& in, bool last, std::vector<double>& out) const {
    std::copy(bias.values.begin(), bias.values.end(), out.begin());
    const float* line = weight.values.data();
    for (const double value : in) {
      for (double& sum : out) sum += value * static_cast<double>(*line++);
    }
    if (last) return;
    for (double& value : out) value = std::max(value, 0.0);
  }

  Tensor weight;  // (inputs, outputs)
  Tensor bias;    // (outputs)
};

}  // namespace

struct HeadPoseEstimator::Network {
  std::vector<float> mean;  // taken off the cells
  std::array<Layer, 3> layers;
  std::array<std::vector<double>, 4> values;  // the cells, and what each layer gives
};

HeadPoseEstimator::HeadPoseEstimator(std::string_view content, const std::string& where)
    : network_(std::make_unique<Network>()) {
  std::map<std::string, Tensor> tensors = tensors_from_file(content, where);
  const auto take = [&](const std::string& name, const std::vector<std::size_t>& shape) {
    const auto found = tensors.find(name);
    const bool fits = found != tensors.end() && found->second.shape == shape &&
                      std::all_of(found->second.values.begin(), found->second.values.end(),
                                  [](float value) { return std::isfinite(value); });
    if (!fits) {
      throw Error(ErrorKind::artifact, where, "no or another " + name, "finite weights of the head pose's shapes",
                  "Take the file of the Python package that goes with this library.");
    }
    return std::move(found->second);
  };
  const auto side = [&](const char* name) {
    const auto found = tensors.find(name);
    return found == tensors.end() ? std::size_t{0} : found->second.values.size();
  };
  const std::array<std::size_t, 4> sides = {2 * kCellCount, side("first_bias"), side("second_bias"), kAnswers};
  network_->mean = take("mean", {sides[0]}).values;
  constexpr std::array<const char*, 3> kNames = {"first", "second", "last"};
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    const std::string name = kNames[i];
    network_->layers[i] = {take(name + "_weight", {sides[i], sides[i + 1]}), take(name + "_bias", {sides[i + 1]})};
  }
  for (std::size_t i = 0; i < sides.size(); ++i) network_->values[i].resize(sides[i]);
}

HeadPoseEstimator::HeadPoseEstimator(HeadPoseEstimator&& other) noexcept = default;
HeadPoseEstimator& HeadPoseEstimator::operator=(HeadPoseEstimator&& other) noexcept = default;
HeadPoseEstimator::~HeadPoseEstimator() = default;

std::optional<HeadPose> HeadPoseEstimator::estimate(const FaceDepth& face) {
  const bool own_mask = face.face_seen >= 0.0;
  constexpr auto kSide = static_cast<std::int32_t>(kCells);
  if (!face.valid || !own_mask || face.width % kSide != 0 || face.height % kSide != 0) return std::nullopt;
  const HeadPosition& head = face.head;
  const Ray ray{(head.x - head.cx) / head.fx, (head.y - head.cy) / head.fy};
  auto& values = network_->values;
  write_cells(face, ray, values[0]);
  for (std::size_t i = 0; i < values[0].size(); ++i) values[0][i] -= static_cast<double>(network_->mean[i]);
  const auto& layers = network_->layers;
  for (std::size_t i = 0; i < layers.size(); ++i) layers[i].run(values[i], i + 1 == layers.size(), values[i + 1]);

  HeadPose pose{};
  pose.rotation_seen = rotation_from_columns(values.back());
  const auto finite = [](const std::array<double, 3>& row) {
    return std::all_of(row.begin(), row.end(), [](double value) { return std::isfinite(value); });
  };
  if (!std::all_of(pose.rotation_seen.begin(), pose.rotation_seen.end(), finite)) return std::nullopt;
  pose.rotation = product(rotation_along(ray), pose.rotation_seen);
  pose.yaw_deg = yaw_deg_of(pose.rotation);
  pose.pitch_deg = kDegrees * std::atan2(pose.rotation[2][1], pose.rotation[2][2]);
  pose.roll_deg = kDegrees * std::atan2(pose.rotation[1][0], pose.rotation[0][0]);
  pose.yaw_seen_deg = yaw_deg_of(pose.rotation_seen);
  const double z_mm = head.distance_mm + behind_face_mm(pose.yaw_seen_deg) / ray.length();
  pose.position_mm = {ray.x * z_mm, ray.y * z_mm, z_mm};
  return pose;
}

}  // namespace facedepth
