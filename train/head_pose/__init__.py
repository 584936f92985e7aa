# SPDX-License-Identifier: Apache-2.0
"""The head pose by the depth map: training and measuring of facedepth_edge.head_pose."""
