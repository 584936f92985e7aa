# SPDX-License-Identifier: Apache-2.0
"""Turns trained networks into artifacts that facedepth_edge runs."""
