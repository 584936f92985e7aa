/* SPDX-License-Identifier: Apache-2.0 */
/* Crops a face out of a 1280 x 720 frame; a ramp, dark to the left and bright to the right, is the camera. */
#include <facedepth/facedepth.h>
#include <stdio.h>
#include <stdlib.h>

enum { WIDTH = 1280, HEIGHT = 720, SIDE = 96 };
static unsigned char pixels[HEIGHT][WIDTH][3];
static float face[SIDE][SIDE];

int main(void) {
  for (int y = 0; y < HEIGHT; ++y) {
    for (int x = 0; x < WIDTH; ++x) {
      for (int c = 0; c < 3; ++c) pixels[y][x][c] = (unsigned char)(x / 8);
    }
  }
  const fde_frame frame = {pixels, WIDTH, HEIGHT, 3, FDE_UINT8, sizeof(pixels[0]), 255.0};
  const fde_box box = {385.5, 105.5, 894.5, 614.5};
  const fde_normalisation scaling = {1.0 / 127.5, -1.0, 1.0 / 127.0};
  const fde_tensor out = {face, SIDE, SIDE, FDE_FLOAT32, sizeof(face[0])};
  char why[256];
  size_t bytes = 0;
  fde_status status = fde_crop_face_workspace_bytes(WIDTH, 3, SIDE, &bytes, why, sizeof(why));
  void* workspace = malloc(bytes); /* once; every frame uses it again */
  if (status == FDE_OK) status = fde_crop_face(&frame, &box, &scaling, &out, workspace, bytes, NULL, why, sizeof(why));
  free(workspace);
  if (status != FDE_OK) return fprintf(stderr, "%s\n", why), 1;
  printf("facedepth %s: left %.4f, right %.4f\n", fde_version(), (double)face[SIDE / 2][0],
         (double)face[SIDE / 2][SIDE - 1]);
  return 0;
}
