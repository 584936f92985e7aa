# SPDX-License-Identifier: Apache-2.0
"""Turns public recordings of depth cameras into folders that benchmarks.rgbd_frames measures."""
