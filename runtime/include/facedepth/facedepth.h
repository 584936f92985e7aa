/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime for C and for languages that call C. C++ has face_crop.h; to use this header from C++, include it
 * inside extern "C".
 *
 * Every fde_ function that can fail returns a status, never throws, and writes the reason into the caller's message
 * buffer: "<where>: got <value>, expected <rule>. <how to fix>", cut to message_bytes, always ended by a zero; an
 * empty text on success. message may be NULL with message_bytes 0.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef int32_t fde_status;
enum {
  FDE_OK = 0,
  FDE_INPUT_ERROR = 1,   /* a frame or a box that cannot be used */
  FDE_CONFIG_ERROR = 2,  /* a size, a normalisation, an output tensor or a workspace that cannot be used */
  FDE_INTERNAL_ERROR = 3 /* a fault of the library or of the machine, out of memory among them */
};

enum { FDE_UINT8 = 0, FDE_UINT16 = 1 };                  /* fde_frame.pixel_type */
enum { FDE_FLOAT32 = 0, FDE_FLOAT16 = 1, FDE_INT8 = 2 }; /* fde_tensor.element_type */

/* A frame (height, width, channels), host memory, interleaved; fields as FrameView in tensor_view.h. */
typedef struct fde_frame {
  const void* data;
  int32_t width;
  int32_t height;
  int32_t channels;           /* 3 = B, G, R; 1 = gray */
  int32_t pixel_type;         /* FDE_UINT8, FDE_UINT16 */
  ptrdiff_t row_stride_bytes; /* padded or negative is fine */
  double max_value;           /* the pixel value of white: 255 for uint8 */
} fde_frame;

/* A plane (height, width) to write, host memory; fields as TensorView in tensor_view.h. */
typedef struct fde_tensor {
  void* data;
  int32_t width;
  int32_t height;
  int32_t element_type; /* FDE_FLOAT32, FDE_FLOAT16, FDE_INT8 */
  ptrdiff_t row_stride_bytes;
} fde_tensor;

/* The box in pixels of the frame; pixel i covers [i, i + 1). */
typedef struct fde_box {
  double x0;
  double y0;
  double x1;
  double y1;
} fde_box;

/* out = scale * gray + offset; int8 tensors hold round(out / int8_step). */
typedef struct fde_normalisation {
  double scale;
  double offset;
  double int8_step;
} fde_normalisation;

/* What the elements of a crop are as a whole; fields as CropStatistics in face_crop.h. */
typedef struct fde_statistics {
  double mean;
  double deviation;
  double smallest;
  double largest;
} fde_statistics;

/* Returns the library's version, "major.minor.patch"; the text belongs to the library. */
__attribute__((visibility("default"))) const char* fde_version(void);

/* Writes the bytes of workspace that fde_crop_face needs into *workspace_bytes. */
__attribute__((visibility("default"))) fde_status fde_crop_face_workspace_bytes(int32_t frame_width, int32_t channels,
                                                                                int32_t out_width,
                                                                                size_t* workspace_bytes, char* message,
                                                                                size_t message_bytes);

/* Samples the box of the frame into out, by the definition in face_crop.h. Allocates nothing on success; may run on
 * several threads at once, each with its own workspace. The frame, out and the workspace belong to the caller and
 * must not overlap; out is untouched when the status is not FDE_OK. statistics may be NULL. */
__attribute__((visibility("default"))) fde_status fde_crop_face(const fde_frame* frame, const fde_box* box,
                                                                const fde_normalisation* normalisation,
                                                                const fde_tensor* out, void* workspace,
                                                                size_t workspace_bytes, fde_statistics* statistics,
                                                                char* message, size_t message_bytes);
