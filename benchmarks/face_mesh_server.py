# SPDX-License-Identifier: Apache-2.0
"""Times MediaPipe FaceMesh on one picture when asked: run by benchmarks/peers.py in an environment of its own.

Takes the picture's path as its argument, then lines with a number of runs on standard input, and answers each with that
many times in milliseconds. Imports nothing of this project. `ready` is its first line.
"""

from __future__ import annotations

import sys
import time

import cv2


def main() -> int:
    """Serve until the input ends; returns the exit status."""
    import mediapipe

    picture = cv2.cvtColor(cv2.imread(sys.argv[1], cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    with mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=False, max_num_faces=1) as mesh:
        found = mesh.process(picture).multi_face_landmarks
        print("ready" if found else "no face", flush=True)
        for line in sys.stdin:
            times = []
            for _ in range(int(line)):
                start = time.perf_counter()
                mesh.process(picture)
                times.append((time.perf_counter() - start) * 1e3)
            print(" ".join(f"{value:.4f}" for value in times), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
