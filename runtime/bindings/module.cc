// SPDX-License-Identifier: Apache-2.0
// The Python module facedepth_edge._native: the face crop and the depth maps on NumPy arrays. Here, and only here,
// facedepth::Error becomes a Python exception.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <string>

#include "facedepth/depth_maps.h"
#include "facedepth/error.h"
#include "facedepth/face_crop.h"
#include "facedepth/tensor_view.h"
#include "ray_depth.h"

namespace nb = nanobind;

namespace facedepth {
namespace {

// float16 has no C++17 type; only its size counts here.
struct Half {
  std::uint16_t bits;
};

}  // namespace
}  // namespace facedepth

template <>
struct nb::detail::dtype_traits<facedepth::Half> {
  static constexpr dlpack::dtype value{static_cast<std::uint8_t>(dlpack::dtype_code::Float), 16, 1};
  static constexpr auto name = const_name("float16");
};

namespace facedepth {
namespace {

template <typename Pixel>
using GrayFrame = nb::ndarray<const Pixel, nb::ndim<2>, nb::device::cpu>;
template <typename Pixel>
using BgrFrame = nb::ndarray<const Pixel, nb::shape<-1, -1, 3>, nb::device::cpu>;
template <typename Element>
using Plane = nb::ndarray<Element, nb::ndim<2>, nb::device::cpu>;

// Lengths beyond int32 stay beyond every limit that crop_face checks.
std::int32_t int32_from_length(std::size_t length) {
  return static_cast<std::int32_t>(std::min<std::size_t>(length, std::numeric_limits<std::int32_t>::max()));
}

// The views cannot express a distance between the elements of a row, so it is checked here.
template <typename Array>
void check_rows(const Array& array, bool dense, ErrorKind kind, const char* where) {
  if (dense) return;
  std::string strides;
  for (std::size_t axis = 0; axis < array.ndim(); ++axis) {
    strides += (axis == 0 ? "" : ", ") + std::to_string(array.stride(axis));
  }
  throw Error(kind, where, "strides of (" + strides + ") elements", "elements of a row side by side",
              "Copy it with numpy.ascontiguousarray.");
}

template <typename Pixel, typename Frame>
FrameView view_of_frame(const Frame& frame, double max_value) {
  const std::int32_t channels = frame.ndim() == 3 ? 3 : 1;
  const bool dense = (frame.shape(1) <= 1 || frame.stride(1) == channels) && (channels == 1 || frame.stride(2) == 1);
  check_rows(frame, dense, ErrorKind::input, "frame");
  return {frame.data(),
          int32_from_length(frame.shape(1)),
          int32_from_length(frame.shape(0)),
          channels,
          sizeof(Pixel) == 1 ? PixelType::uint8 : PixelType::uint16,
          static_cast<std::ptrdiff_t>(frame.stride(0)) * static_cast<std::ptrdiff_t>(sizeof(Pixel)),
          max_value};
}

template <typename Element>
TensorView view_of_plane(const Plane<Element>& out) {
  check_rows(out, out.shape(1) <= 1 || out.stride(1) == 1, ErrorKind::config, "out");
  constexpr ElementType kType = sizeof(Element) == 4   ? ElementType::float32
                                : sizeof(Element) == 2 ? ElementType::float16
                                                       : ElementType::int8;
  return {out.data(), int32_from_length(out.shape(1)), int32_from_length(out.shape(0)), kType,
          static_cast<std::ptrdiff_t>(out.stride(0)) * static_cast<std::ptrdiff_t>(sizeof(Element))};
}

template <typename Element, typename Pixel, typename Frame>
nb::tuple crop_into(FaceCropper& cropper, const Plane<Element>& out, const Frame& frame, double x0, double y0,
                    double x1, double y1, double max_value) {
  const TensorView plane = view_of_plane(out);
  const FrameView pixels = view_of_frame<Pixel>(frame, max_value);
  CropStatistics found{};
  {
    const nb::gil_scoped_release released;
    found = cropper.crop(pixels, {x0, y0, x1, y1}, plane);
  }
  return nb::make_tuple(found.mean, found.deviation, found.smallest, found.largest);
}

constexpr const char* kCropIntoText =
    "Sample a box of the frame into out, as face_crop.h defines it, without the interpreter's lock.\n\n"
    "Args:\n"
    "    out: (h, w) float32, float16 or int8, host, elements of a row side by side; overwritten.\n"
    "    frame: (H, W) gray or (H, W, 3) BGR, uint8 or uint16, host, pixels of a row side by side; only read.\n"
    "    x0, y0, x1, y1: the box in pixels of the frame.\n"
    "    max_value: the pixel value of white.\n\n"
    "Returns:\n"
    "    (mean, deviation, smallest, largest) of out before it was rounded to float16 or int8.\n\n"
    "Raises:\n"
    "    InputError: the frame or the box cannot be used.\n"
    "    ConfigError: out or the normalisation cannot be used.\n";

template <typename Element>
void define_crop_into(nb::class_<FaceCropper>& cropper) {
  const auto define = [&](auto function) {
    cropper.def("crop_into", function, nb::arg("out").noconvert(), nb::arg("frame").noconvert(), nb::arg("x0"),
                nb::arg("y0"), nb::arg("x1"), nb::arg("y1"), nb::arg("max_value"), kCropIntoText);
  };
  define(&crop_into<Element, std::uint8_t, BgrFrame<std::uint8_t>>);
  define(&crop_into<Element, std::uint8_t, GrayFrame<std::uint8_t>>);
  define(&crop_into<Element, std::uint16_t, GrayFrame<std::uint16_t>>);
  define(&crop_into<Element, std::uint16_t, BgrFrame<std::uint16_t>>);
}

template <typename Element>
using DensePlane = nb::ndarray<Element, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

nb::tuple write_depth_maps_into(const DensePlane<float>& depth_mm, const DensePlane<float>& relative,
                                const DensePlane<bool>& mask, const DensePlane<const float>& depth,
                                const DensePlane<const float>& mask_probability, double distance_mm,
                                double half_range_mm, double mask_threshold) {
  const auto check_shape = [&](const auto& plane, const char* where) {
    if (plane.shape(0) == depth.shape(0) && plane.shape(1) == depth.shape(1)) return;
    throw Error(ErrorKind::config, where,
                "shape (" + std::to_string(plane.shape(0)) + ", " + std::to_string(plane.shape(1)) + ")",
                "the shape of depth (" + std::to_string(depth.shape(0)) + ", " + std::to_string(depth.shape(1)) + ")",
                "Give planes of the model's output size.");
  };
  check_shape(depth_mm, "depth_mm");
  check_shape(relative, "relative");
  check_shape(mask, "mask");
  if (mask_probability.is_valid()) check_shape(mask_probability, "mask_probability");
  DepthSummary found{};
  {
    const nb::gil_scoped_release released;
    static_assert(sizeof(bool) == sizeof(std::uint8_t), "NumPy's bool is a byte of 0 or 1");
    found =
        write_depth_maps({depth.data(), mask_probability.is_valid() ? mask_probability.data() : nullptr, depth.size()},
                         {distance_mm, half_range_mm, mask_threshold},
                         {depth_mm.data(), relative.data(), reinterpret_cast<std::uint8_t*>(mask.data())});
  }
  return nb::make_tuple(found.finite, found.has_head);
}

void depth_along_axis_into(const DensePlane<float>& relative, const DensePlane<const float>& depth, double ray_x,
                           double ray_y, double distance_mm, double half_range_mm, double reach_x_mm,
                           double reach_y_mm) {
  if (relative.shape(0) != depth.shape(0) || relative.shape(1) != depth.shape(1)) {
    throw Error(ErrorKind::config, "relative",
                "shape (" + std::to_string(relative.shape(0)) + ", " + std::to_string(relative.shape(1)) + ")",
                "the shape of depth", "Give planes of the model's output size.");
  }
  const nb::gil_scoped_release released;
  depth_along_axis(depth.data(), static_cast<std::int32_t>(depth.shape(1)), static_cast<std::int32_t>(depth.shape(0)),
                   {ray_x, ray_y, distance_mm, half_range_mm, reach_x_mm, reach_y_mm}, relative.data());
}

constexpr const char* kDepthAlongAxisText =
    "Turn relative depth along the ray to the head into relative depth along the optical axis, as ray_depth.h has it.\n\n"
    "Args:\n"
    "    relative: (h, w) float32, host, C-contiguous; overwritten; may be depth itself.\n"
    "    depth: (h, w) float32 z of the network, host, C-contiguous.\n"
    "    ray_x, ray_y: x / z and y / z of the head centre in the camera's frame.\n"
    "    distance_mm, half_range_mm, reach_x_mm, reach_y_mm: the head's, and the model's numbers; not checked.\n\n"
    "Raises:\n"
    "    ConfigError: the shapes differ.\n";

constexpr const char* kWriteDepthMapsText =
    "Turn the network's maps into depth and mask, as depth_maps.h defines it, without the interpreter's lock.\n\n"
    "Args:\n"
    "    depth_mm, relative: (h, w) float32, host, C-contiguous; overwritten.\n"
    "    mask: (h, w) bool, host, C-contiguous; overwritten.\n"
    "    depth: (h, w) float32 z of the network, host, C-contiguous; only read.\n"
    "    mask_probability: the same for the mask, or None: the mask is relative < mask_threshold.\n"
    "    distance_mm, half_range_mm, mask_threshold: the head's distance, and the model's numbers.\n\n"
    "Returns:\n"
    "    (no NaN in relative, the mask is not empty).\n\n"
    "Raises:\n"
    "    ConfigError: shapes differ, or a number of the model's cannot be used.\n"
    "    InputError: the distance is not finite.\n";

// The package's own exception types; the module lives as long as the interpreter, and so do they.
struct ErrorTypes {
  PyObject* of_kind[4];  // in the order of ErrorKind
};

void translate_error(const std::exception_ptr& thrown, void* payload) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    const auto* types = static_cast<const ErrorTypes*>(payload);
    PyErr_SetString(types->of_kind[static_cast<int>(error.kind())], error.what());
  }
}

}  // namespace
}  // namespace facedepth

NB_MODULE(_native, m) {
  using facedepth::FaceCropper;
  nb::set_leak_warnings(false);  // a thread that is alive at the end keeps its cropper: no reason for text on stderr
  m.doc() = "The native runtime: the face crop and the depth maps.";
  m.attr("version") = FDE_VERSION;

  const nb::module_ errors = nb::module_::import_("facedepth_edge.errors");
  static facedepth::ErrorTypes types;
  const char* const names[] = {"InputError", "ConfigError", "ArtifactError", "BackendUnavailable"};
  for (int kind = 0; kind < 4; ++kind) types.of_kind[kind] = nb::object(errors.attr(names[kind])).release().ptr();
  nb::register_exception_translator(facedepth::translate_error, &types);

  nb::class_<FaceCropper> cropper(m, "FaceCropper", "The crop with a workspace of its own; one for each thread.");
  cropper.def(
      "__init__",
      [](FaceCropper* self, double scale, double offset, double int8_step) {
        new (self) FaceCropper({scale, offset, int8_step});
      },
      nb::arg("scale"), nb::arg("offset"), nb::arg("int8_step") = 1.0,
      "Take the normalisation: out = scale * gray + offset; an int8 out holds round(out / int8_step).");
  facedepth::define_crop_into<float>(cropper);
  facedepth::define_crop_into<facedepth::Half>(cropper);
  facedepth::define_crop_into<std::int8_t>(cropper);
  m.def("write_depth_maps", facedepth::write_depth_maps_into, nb::arg("depth_mm").noconvert(),
        nb::arg("relative").noconvert(), nb::arg("mask").noconvert(), nb::arg("depth").noconvert(),
        nb::arg("mask_probability").noconvert().none(), nb::arg("distance_mm"), nb::arg("half_range_mm"),
        nb::arg("mask_threshold"), facedepth::kWriteDepthMapsText);
  m.def("depth_along_axis", facedepth::depth_along_axis_into, nb::arg("relative").noconvert(),
        nb::arg("depth").noconvert(), nb::arg("ray_x"), nb::arg("ray_y"), nb::arg("distance_mm"),
        nb::arg("half_range_mm"), nb::arg("reach_x_mm"), nb::arg("reach_y_mm"), facedepth::kDepthAlongAxisText);
}
