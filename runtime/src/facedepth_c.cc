// SPDX-License-Identifier: Apache-2.0
// The C interface: turns C structs into views and exceptions into statuses with a message.

#include <algorithm>
#include <cstring>
#include <exception>

#include "facedepth/error.h"
#include "facedepth/face_crop.h"

extern "C" {
#include "facedepth/facedepth.h"
}

namespace {

void write_message(const char* text, char* message, size_t message_bytes) noexcept {
  if (message == nullptr || message_bytes == 0) return;
  const size_t length = std::min(std::strlen(text), message_bytes - 1);
  std::memcpy(message, text, length);
  message[length] = '\0';
}

// Runs the call; no exception leaves it.
template <typename Call>
fde_status run_guarded(const Call& call, char* message, size_t message_bytes) noexcept {
  try {
    call();
    write_message("", message, message_bytes);
    return FDE_OK;
  } catch (const facedepth::Error& error) {
    write_message(error.what(), message, message_bytes);
    if (error.kind() == facedepth::ErrorKind::input) return FDE_INPUT_ERROR;
    if (error.kind() == facedepth::ErrorKind::config) return FDE_CONFIG_ERROR;
  } catch (const std::exception& error) {
    write_message(error.what(), message, message_bytes);
  }
  return FDE_INTERNAL_ERROR;
}

void require_pointer(const void* pointer, facedepth::ErrorKind kind, const char* where) {
  if (pointer != nullptr) return;
  throw facedepth::Error(kind, where, "NULL", "the address of a filled struct or variable", "Pass its address.");
}

}  // namespace

const char* fde_version(void) { return FDE_VERSION; }

fde_status fde_crop_face_workspace_bytes(int32_t frame_width, int32_t channels, int32_t out_width,
                                         size_t* workspace_bytes, char* message, size_t message_bytes) {
  return run_guarded(
      [&] {
        require_pointer(workspace_bytes, facedepth::ErrorKind::config, "workspace_bytes");
        *workspace_bytes = facedepth::crop_face_workspace_bytes(frame_width, channels, out_width);
      },
      message, message_bytes);
}

fde_status fde_crop_face(const fde_frame* frame, const fde_box* box, const fde_normalisation* normalisation,
                         const fde_tensor* out, void* workspace, size_t workspace_bytes, fde_statistics* statistics,
                         char* message, size_t message_bytes) {
  return run_guarded(
      [&] {
        require_pointer(frame, facedepth::ErrorKind::input, "frame");
        require_pointer(box, facedepth::ErrorKind::input, "box");
        require_pointer(normalisation, facedepth::ErrorKind::config, "normalisation");
        require_pointer(out, facedepth::ErrorKind::config, "out");
        const facedepth::CropStatistics found = facedepth::crop_face(
            {frame->data, frame->width, frame->height, frame->channels,
             static_cast<facedepth::PixelType>(frame->pixel_type), frame->row_stride_bytes, frame->max_value},
            {box->x0, box->y0, box->x1, box->y1},
            {normalisation->scale, normalisation->offset, normalisation->int8_step},
            {out->data, out->width, out->height, static_cast<facedepth::ElementType>(out->element_type),
             out->row_stride_bytes},
            workspace, workspace_bytes);
        if (statistics != nullptr) *statistics = {found.mean, found.deviation, found.smallest, found.largest};
      },
      message, message_bytes);
}
